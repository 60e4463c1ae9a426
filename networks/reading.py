"""Files that may come from anybody: read within bounds, with the usual broken downloads told apart in one sentence."""

import json
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

MOST_TEXT_BYTES = 32 << 20
"""Of a config or a tokenizer; the largest tokenizer.json in use, mT5's, has 16 MB."""

UNREADABLE = (Exception,)
"""What libraries raise for a model's files that are broken or of another kind: anything (`tokenizers` raises Exception
itself, `transformers` errors of its own that are no ValueError)."""

_LFS, _PAGE = b"version https://git-lfs", (b"<!doctype", b"<html")
_AGAIN = "download it again, for example by `hf download`"


class WrongFileError(ValueError):
    """A file that is not what its name says; the message is one sentence with the file and the remedy."""


def check_download(path: Path) -> None:
    """Refuses what a failed download leaves under the name of a file, by its first bytes.

    Args:
        path: path of the file.

    Raises:
        WrongFileError: for a folder, pipe or device, an empty file, a pointer of git-lfs, or a web page.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise WrongFileError(f"{path} cannot be read ({error.strerror}): look at the path and its rights") from error
    if not stat.S_ISREG(found.st_mode):  # a pipe or a device would never end
        raise WrongFileError(f"{path} is not a regular file: put the file itself there")
    if found.st_size == 0:
        raise WrongFileError(f"{path} is empty: {_AGAIN}")
    with path.open("rb") as file:
        start = file.read(256)
    if start.startswith(_LFS):
        raise WrongFileError(
            f"{path} is a pointer of git-lfs, not the file: run `git lfs install` and `git lfs pull` in its repository"
        )
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        raise WrongFileError(f"{path} is a web page, not the file: {_AGAIN}")


def read_text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """A text file of at most `most_bytes` in UTF-8.

    Args:
        path: path of the file.
        most_bytes: above which it is refused unread.

    Returns:
        The text.

    Raises:
        WrongFileError: if the file is not one; see also `check_download`.
    """
    check_download(path)
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise WrongFileError(f"{path} has more than {most_bytes:,} bytes, too many for such a file: give the right one")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise WrongFileError(f"{path} is not a text in UTF-8: {_AGAIN}") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping.

    Args:
        path: path of the file.

    Returns:
        The mapping.

    Raises:
        WrongFileError: if it does not.
    """
    text = read_text(path)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "its brackets nest too deeply" if isinstance(error, RecursionError) else str(error)
        raise WrongFileError(f"{path} is no JSON ({reason}): {_AGAIN}") from error
    if not isinstance(found, dict):
        raise WrongFileError(f"{path} holds no mapping but a {type(found).__name__}: {_AGAIN}")
    return found


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    """A safetensors file, opened; tensors are read one by one.

    Args:
        path: path of the file.

    Yields:
        The opened file of safetensors.

    Raises:
        WrongFileError: if the file is not whole, or of another kind.
    """
    check_download(path)
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WrongFileError(f"{path} is no whole safetensors file ({reason}): {_AGAIN}") from error


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a safetensors file; no tensor is read.

    Args:
        path: path of the file.

    Returns:
        Shapes by name.

    Raises:
        WrongFileError: see `open_tensors`.
    """
    with open_tensors(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file, by name, each of them finite.

    Args:
        path: path of the file.

    Returns:
        Tensors by name, in host memory.

    Raises:
        WrongFileError: see `open_tensors`.
        ValueError: if one holds NaN or infinity.
    """
    with open_tensors(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    check_finite(tensors, path)
    return tensors


def check_finite(tensors: Mapping[str, Tensor], where: object) -> None:
    """Refuses weights with NaN or infinity: their videos would be black, and a release of them useless.

    Args:
        tensors: tensors by name.
        where: the file or setting that the weights come from.

    Raises:
        ValueError: naming the first tensor with NaN or infinity.
    """
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(
                f"{where}: the tensor {name!r} holds NaN or infinity, so nothing can be made with these weights; take "
                "an earlier checkpoint, or download the file again"
            )


def check_pretrained(pretrained: str, subfolder: str = "") -> None:
    """Looks at each file of a pretrained model, before a library reads gigabytes or fails without a reason.

    Args:
        pretrained: a folder; a name on the hub is not looked at.
        subfolder: folder of the model inside; "" for the top.

    Raises:
        WrongFileError: for the first JSON, safetensors or tokenizer file that is broken, a missing piece of the
            weights, or weights in a form that nothing here reads.
    """
    folder = Path(pretrained, subfolder)
    if Path(pretrained).is_file():
        raise WrongFileError(
            f"{pretrained} is one file, but a folder of diffusers or transformers is read, with config.json and "
            "safetensors: download the repository as a folder"
        )
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    gguf = [path for path in files if path.suffix == ".gguf"]
    if gguf and not any(path.suffix in (".safetensors", ".bin") for path in files):
        raise WrongFileError(f"{gguf[0]} is quantised in GGUF, which is not read here: take safetensors in bfloat16")
    for path in weight_files(pretrained, subfolder):
        if not path.is_file():
            raise WrongFileError(f"{path} is missing, a piece of the weights that {folder} has an index of: {_AGAIN}")
    for path in files:
        if path.suffix == ".json":
            if path.name != "vocab.json":  # large, and read only by slow tokenizers
                _check_json(path)
        elif path.suffix == ".safetensors":
            _check_types(path)
        elif path.suffix in (".model", ".bin", ".txt"):
            check_download(path)


def weight_files(pretrained: str, subfolder: str = "") -> list[Path]:
    """The safetensors files of a pretrained model in a folder: the pieces that its index names, or the only one.

    Args:
        pretrained: a folder; of a name on the hub there are none.
        subfolder: folder of the model inside; "" for the top.

    Returns:
        Their paths, whether they are there or not.

    Raises:
        WrongFileError: if an index is broken.
    """
    folder = Path(pretrained, subfolder)
    for index in sorted(folder.glob("*.safetensors.index.json")):
        if index.name.count(".") == 3:  # not of a variant, such as fp16
            named = read_json(index).get("weight_map")
            if not isinstance(named, dict):
                raise WrongFileError(f"{index} has no weight_map: {_AGAIN}")
            return [folder / Path(str(name)).name for name in sorted(set(named.values()), key=str)]
    return [path for path in sorted(folder.glob("*.safetensors")) if path.name.count(".") == 1]


def _check_types(path: Path) -> None:
    with open_tensors(path) as file:
        for name in file.keys():  # noqa: SIM118
            kind = file.get_slice(name).get_dtype()
            if kind.startswith("F8"):
                raise WrongFileError(
                    f"{path} holds weights in 8 bits ({name} is {kind}), which need scales that no library reads from "
                    "here: take the same model in bfloat16"
                )


def reason_of(error: BaseException) -> str:
    """A library's error in one line.

    Args:
        error: what was raised.

    Returns:
        Its kind and what it says, up to 300 characters.

    Raises:
        MemoryError: the error itself, where memory is what was wanting: the files are not to blame.
    """
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        raise error
    said = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turns whatever a library raises over a model's files into one sentence.

    Args:
        what: the sentence's beginning, such as "codec: no AutoencoderKLWan could be loaded from 'FOLDER'".

    Raises:
        WrongFileError: `what` and the library's reason, in one line.
        MemoryError: as it is; see `reason_of`.
    """
    try:
        yield
    except WrongFileError:
        raise
    except UNREADABLE as error:
        raise WrongFileError(f"{what}: {reason_of(error)}") from error


def _check_json(path: Path) -> None:
    check_download(path)
    if path.stat().st_size <= MOST_TEXT_BYTES:
        try:
            json.loads(read_text(path))
        except (ValueError, RecursionError) as error:
            raise WrongFileError(f"{path} is no JSON ({type(error).__name__}): {_AGAIN}") from error
