"""What lies beside a video: its prompt, the frames at which pieces meet, its reference, its poses."""

import csv
import gzip
import json
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longtake.video.folders import ENDINGS, list_folder, read_caption, text_of
from networks.reading import check_download

log = logging.getLogger("longtake")


class Beside(NamedTuple):
    """What is known of one video beside its frames."""

    boundaries: Sequence[int] = ()
    prompt: str | None = None
    reference: Path | None = None
    poses: Path | None = None


def find_videos(folder: Path) -> list[Path]:
    """Video files in a folder and its subfolders, sorted by path; what is passed over is told.

    Args:
        folder: folder of videos.

    Returns:
        Paths relative to the folder.

    Raises:
        ValueError: the folder does not exist, or holds none.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder '{folder}': give one that holds videos")
    found = list_folder(folder)
    for note in found.notes:
        log.warning(note)
    if not found.films:
        raise ValueError(f"there is no video in '{folder}' (looked for {', '.join(sorted(ENDINGS))})")
    return found.films


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """The lines of a folder's manifest.jsonl by their "file"; empty if there is none.

    Args:
        folder: folder of videos.

    Returns:
        Each line as a mapping, by its "file".

    Raises:
        ValueError: a line is not a JSON object with a file, or its boundaries or prompt are of a wrong kind.
    """
    manifest = folder / "manifest.jsonl"
    text, lost = text_of(manifest.read_bytes()) if manifest.is_file() else ("", False)
    if lost:
        raise ValueError(f"'{manifest}' is not text in UTF-8: save it as UTF-8, or remove it")
    found: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            boundaries, prompt = entry.get("boundaries", []), entry.get("prompt", "")
            if not all(isinstance(frame, int) for frame in boundaries) or not isinstance(prompt, str):
                raise TypeError("boundaries must be whole numbers and the prompt a text")
            found[entry["file"]] = entry
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError) as error:
            raise ValueError(
                f'line {number} of \'{manifest}\' is not {{"file": …, "boundaries": […], "prompt": …}}: mend it, or '
                "remove the file"
            ) from error
    return found


def find_beside(
    videos: Path, names: Sequence[str], *, boundaries: Sequence[int], reference: Path | None, poses: Path | None
) -> dict[str, Beside]:
    """Look for what lies beside the videos `names` of a folder.

    Args:
        videos: the folder. Prompts and boundaries come from its manifest.jsonl, prompts also from NAME.txt.
        names: paths relative to it.
        boundaries: boundaries of every video whose line in the manifest names none.
        reference: folder of true videos with the same names.
        poses: folder of pose tables with the same names, ending in .csv or .csv.gz; None looks beside each video, and
            where a corpus keeps them: in `poses` beside a folder `videos`.

    Raises:
        ValueError: a line of the manifest is broken, or `poses` is given and has no table of any video.
    """
    manifest = read_manifest(videos)
    captions = list_folder(videos).captions if videos.is_dir() else {}
    folders = [poses] if poses is not None else [videos, videos.parent / "poses"]
    found = {}
    for name in names:
        line = manifest.get(name, {})
        true = reference / name if reference is not None else None
        found[name] = Beside(
            boundaries=tuple(line.get("boundaries", boundaries)),
            prompt=line.get("prompt") or _caption(captions.get(videos / name)),
            reference=true if true is not None and true.is_file() else None,
            poses=_pose_table(name, folders),
        )
    if poses is not None and not any(beside.poses for beside in found.values()):
        raise ValueError(f"no file in poses={poses} has the name of a video: {Path(names[0]).stem}.csv.gz, …")
    return found


def _caption(file: Path | None) -> str | None:
    return None if file is None else read_caption(file)[0] or None


def _pose_table(name: str, folders: Sequence[Path]) -> Path | None:
    tables = (folder / Path(name).with_suffix(suffix) for folder in folders for suffix in (".csv.gz", ".csv"))
    return next((table for table in tables if table.is_file()), None)


MOST_POSE_BYTES = 64 << 20
"""Of a table of poses, which may be packed: some hundred thousand frames."""


def read_poses(path: Path) -> Tensor:
    """Poses of every frame, f 4: x, y, z and the angle in degrees.

    Args:
        path: a table with columns frame, x, y, angle and perhaps z, as Freedoom's renderer writes it.

    Raises:
        ValueError: it cannot be read, lacks a column, holds no number where one should be, or leaves frames out.
    """
    try:
        check_download(path)
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MOST_POSE_BYTES + 1)
        if len(data) > MOST_POSE_BYTES:
            raise ValueError("too large")
        text = data.decode("utf-8-sig")
        rows = list(csv.DictReader(text.splitlines()))
        numbers = [int(row["frame"]) for row in rows]
        poses = [[float(row["x"]), float(row["y"]), float(row.get("z") or 0), float(row["angle"])] for row in rows]
    except (OSError, EOFError, zlib.error, csv.Error, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"poses '{path}' are no table with numbers under frame, x, y and angle: write one, or take the file away"
        ) from error
    if numbers != list(range(len(rows))):
        raise ValueError(f"poses '{path}' do not number their frames 0, 1, 2, …: give every frame its line")
    found = torch.tensor(poses).reshape(len(rows), 4)
    if not bool(torch.isfinite(found).all()):
        raise ValueError(f"poses '{path}' hold NaN or infinity: every frame needs a place and an angle")
    return found
