"""Predicted frames of any model: METHOD/QUESTION.mp4, .npz, or a folder of pictures."""

import re
import zipfile
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from longtake.testbed.folder import Pictures
from longtake.testbed.questions import Question
from longtake.video import probe, read_frames
from networks.reading import refused

VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi")
PICTURES = (".png",)
ARRAYS = (".npz", ".npy")
AGAIN = "predict it again in that size"

Predictions = dict[str, dict[str, Path]]
"""By method and question, the file or folder of frames."""


def find_predictions(folder: Path, *, questions: Sequence[Question], asked: Sequence[Question]) -> Predictions:
    """Find the predictions of every method: each folder in a folder is one.

    Args:
        folder: folder with one folder for each method.
        questions: all of the test set: no other may be predicted.
        asked: those that are scored: none may be missing.

    Raises:
        ValueError: there is no method, one has a file of no question, lacks a prediction, or has it twice.
    """
    if not folder.is_dir():
        raise ValueError(f"predictions={folder}: there is no such folder; give one that holds a folder for each method")
    methods = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not methods:
        raise ValueError(f"predictions={folder} holds no folder: predictions lie in {folder}/METHOD/{asked[0].id}.mp4")
    known = [question.id for question in questions]
    found: Predictions = {}
    for method in methods:
        files: dict[str, Path] = {}
        for path in sorted(method.iterdir()):
            if path.name.startswith(".") or not (path.is_dir() or path.suffix.lower() in (*VIDEOS, *ARRAYS)):
                continue  # logs, manifests and the like
            name = path.name if path.is_dir() else path.stem
            if name not in known:
                raise ValueError(f"{path}: the test set has no question {name}{_near(name, known)}")
            if name in files:
                raise ValueError(f"{path}: a second prediction beside {files[name].name}; remove one of them")
            files[name] = path
        if missing := [question.id for question in asked if question.id not in files]:
            raise ValueError(
                f"{method / missing[0]}.mp4 is missing, and so are {len(missing) - 1} more of {len(asked)} predictions "
                f"of {method.name}: predict them, or score fewer kinds with kinds=[…]"
            )
        found[method.name] = {question.id: files[question.id] for question in asked}
    return found


def check_methods(names: Iterable[str | None], *, methods: Sequence[str]) -> None:
    """Refuse names of methods that the predictions do not have.

    Args:
        names: names that the user typed; None is passed over.
        methods: names of the methods that have predictions.

    Raises:
        ValueError: naming the method with the nearest name.
    """
    for name in names:
        if name is not None and name not in methods:
            raise ValueError(
                f"there is no method {name}{_near(name, methods)}; the predictions have {', '.join(methods)}"
            )


def _near(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, 1)
    return f"; did you mean {near[0]}?" if near else ""


def read_prediction(path: Path, *, shape: tuple[int, int, int]) -> Pictures:
    """Read predicted frames.

    Args:
        path: a video; a .npz or .npy with one array f h w 3, uint8, or floats in [0, 1]; or a folder of .png files,
            whose names sort as the frames do.
        shape: frames, height and width that the question asks for.

    Raises:
        ValueError: it cannot be read, ends early, has other frames or another size, or holds NaN.
    """
    if path.is_dir():
        return _read_pictures(path, shape)
    if path.suffix.lower() in ARRAYS:
        return _read_array(path, shape)
    size = probe(path)
    _check(path, (None, size.height, size.width), shape)
    frames = read_frames(path, height=size.height, width=size.width, fps=0, crop_place=0.5)
    _check(path, (len(frames), size.height, size.width), shape)
    return frames


def _check(path: Path, found: tuple[int | None, int, int], shape: tuple[int, int, int]) -> None:
    if found[1:] != shape[1:]:
        raise ValueError(
            f"{path} has frames of {found[1]} × {found[2]} pixels, the question asks {shape[1]} × {shape[2]}: {AGAIN}"
        )
    if found[0] is not None and found[0] != shape[0]:
        raise ValueError(f"{path} has {found[0]} frames, the question asks for {shape[0]}: {AGAIN}")


def _read_pictures(path: Path, shape: tuple[int, int, int]) -> Pictures:
    import cv2

    files = [file for file in path.iterdir() if file.suffix.lower() in PICTURES and not file.name.startswith(".")]
    files.sort()
    if not files:
        raise ValueError(f"{path} holds no .png; write a picture of each frame, such as 000.png")
    if files != sorted(files, key=_by_number):
        raise ValueError(f"{path}: its names do not sort as their numbers count; write 000.png, 001.png, …")
    _check(path, (len(files), *shape[1:]), shape)
    frames = []
    for file in files:
        try:
            picture = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # it is empty, or says that it is larger than any screen
            picture = None
        if picture is None:
            raise ValueError(f"{file} is no picture that can be read; write it again")
        _check(file, (None, *picture.shape[:2]), shape)
        frames.append(picture[..., ::-1])
    return np.stack(frames).astype(np.uint8)


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Where a name stands among others when the numbers in it are counted."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", file.name)]


def _read_array(path: Path, shape: tuple[int, int, int]) -> Pictures:
    """Looks at the array's head before its values are read, so that a wrong one costs no memory."""
    with refused(f"{path} is no .npz or .npy file of one array of numbers; write it again"):
        if path.suffix.lower() == ".npy":
            values = np.load(path, mmap_mode="r", allow_pickle=False)
            found, kind = values.shape, values.dtype
        else:
            found, kind = _head(path)
    if len(found) != 4 or found[3] != 3:
        raise ValueError(
            f"{path} has an array of shape {found}, but frames are f h w 3, here {(*shape, 3)}: write it again"
        )
    _check(path, (found[0], found[1], found[2]), shape)
    if kind != np.uint8 and kind.kind != "f":
        raise ValueError(f"{path} has values of type {kind}; write uint8, or floats in [0, 1]")
    with refused(f"{path} is broken; write it again"):
        loaded = np.load(path, allow_pickle=False)
        frames: NDArray[np.generic] = loaded if path.suffix.lower() == ".npy" else loaded[loaded.files[0]]
    if kind == np.uint8:
        return np.asarray(frames, dtype=np.uint8)
    numbers = np.asarray(frames, dtype=np.float64)
    broken = np.flatnonzero(~np.isfinite(numbers).reshape(len(numbers), -1).all(axis=1))
    if len(broken):
        raise ValueError(f"{path}: frame {broken[0]} holds NaN or infinity, which no picture does; predict it again")
    if numbers.min() < -1e-3 or numbers.max() > 1 + 1e-3:
        raise ValueError(f"{path} has values from {numbers.min():.3g} to {numbers.max():.3g}; floats lie in [0, 1]")
    return np.asarray((numbers.clip(0, 1) * 255).round(), dtype=np.uint8)


def _head(path: Path) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise ValueError("not one array")
        with archive.open(names[0]) as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(file)
    return shape, kind
