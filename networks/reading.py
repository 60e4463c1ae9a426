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
AGAIN = "download it again, for example by `hf download`"


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
        raise WrongFileError(f"{path} is empty: {AGAIN}")
    with path.open("rb") as file:
        start = file.read(256)
    if start.startswith(_LFS):
        raise WrongFileError(
            f"{path} is a pointer of git-lfs, not the file: run `git lfs install` and `git lfs pull` in its repository"
        )
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        raise WrongFileError(f"{path} is a web page, not the file: {AGAIN}")


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
        raise WrongFileError(f"{path} is not a text in UTF-8: {AGAIN}") from error


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
        raise WrongFileError(f"{path} is no JSON ({reason}): {AGAIN}") from error
    if not isinstance(found, dict):
        raise WrongFileError(f"{path} holds no mapping but a {type(found).__name__}: {AGAIN}")
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
        raise WrongFileError(f"{path} is no whole safetensors file ({reason}): {AGAIN}") from error


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
