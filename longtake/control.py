"""Files of control: a row of numbers for every frame of a video, as .csv, .csv.gz or .npy."""

import csv
import gzip
import logging
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from longtake.video.folders import text_of
from longtake.video.places import shown
from networks.control import NAME
from networks.interfaces import VideoNetwork
from networks.reading import check_download

log = logging.getLogger("longtake")

MOST_BYTES = 64 << 20
"""Of an unpacked table: some hundred thousand frames."""
LARGEST = torch.finfo(torch.float32).max
"""Beyond it a number of a table would become infinite."""


def control_for(network: VideoNetwork, path: str | Path | None, num_frames: int) -> Tensor | None:
    """Reads the control of a video from a file: the numbers of each pixel frame.

    Args:
        network: network whose backbone says which columns of control it takes, if any.
        path: path of the file; None where the user gave none.
        num_frames: pixel frames of the video.

    Returns:
        Numbers F n, one row for each of F pixel frames; None without a file.

    Raises:
        ValueError: if a file is given and the network takes no control, or the file has too few rows or other columns.
    """
    takes = network.backbone.control if NAME in network.ablations else None
    if path is None:
        if takes is not None:
            log.info(
                f"these weights can be steered ({', '.join(takes.columns)}), and nothing steers them: give "
                "control_file=FILE"
            )
        return None
    if takes is None:
        raise ValueError(f"control_file={path}: these weights take no control, so leave it out")
    return read_control(path, takes.columns, num_frames)


def read_control(path: str | Path, columns: Sequence[str], num_frames: int) -> Tensor:
    """Numbers of the first num_frames pixel frames of a video, F n.

    Args:
        path: a table whose first line names its columns, of which those in `columns` are read, and `frame`, where it
            is there, must count 0, 1, 2, …; or an array F n of NumPy with just these columns.
        columns: what the weights take, in this order.
        num_frames: pixel frames that are to be made; a file may have more rows.

    Returns:
        Numbers F n in float32.

    Raises:
        ValueError: if it cannot be read, lacks a column or rows, or a value is no finite number, with file and line.
    """
    rows = read_numbers(path, columns, where=f"control_file={path}")
    if not len(rows):
        raise ValueError(f"control_file={path} has no row of numbers: give one for each of {num_frames} frames")
    if len(rows) < num_frames:
        raise ValueError(
            f"control_file={path} has {len(rows)} rows, but {num_frames} frames are to be made: give a row for each, "
            f"or num_frames={len(rows)} or fewer"
        )
    return rows[:num_frames]


def read_numbers(path: str | Path, columns: Sequence[str], *, where: str) -> Tensor:
    """All rows of a file of control, F n.

    Args:
        path: as in read_control.
        columns: names of the columns that are read, in this order.
        where: what errors call the file.

    Returns:
        Numbers F n in float32.

    Raises:
        ValueError: as read_control.
    """
    path = Path(path)
    check_download(path)
    return _array(path, columns, where) if path.suffix.lower() == ".npy" else _table(path, columns, where)


def _array(path: Path, columns: Sequence[str], where: str) -> Tensor:
    import numpy as np

    try:
        values = np.load(path, allow_pickle=False)
    except MemoryError as error:  # its head may name more numbers than there are
        raise ValueError(f"{where} is larger than memory: give the rows of one video") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{where} is no array of NumPy: write it with numpy.save, as numbers") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiub":
        raise ValueError(f"{where} must hold one array of numbers, frames by columns")
    if values.shape[1] != len(columns):
        raise ValueError(
            f"{where} has {values.shape[1]} columns, but these weights take {len(columns)}: {', '.join(columns)}"
        )
    fit = (np.abs(values.astype("float64")) <= LARGEST).all(axis=1)  # NaN does not either
    if not fit.all():
        row = int(fit.argmin())
        raise ValueError(f"{where}: row {row} holds NaN, infinity or a number beyond float32; give each frame numbers")
    return torch.from_numpy(values.astype("float32"))


def _table(path: Path, columns: Sequence[str], where: str) -> Tensor:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{where} cannot be read as a table: give a .csv, .csv.gz or .npy") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"{where} is larger than {MOST_BYTES >> 20} MiB: give the rows of one video")
    text, lost = text_of(data)
    if lost or "\0" in text:
        raise ValueError(f"{where} cannot be read as a table: give a .csv, .csv.gz or .npy")
    lines = csv.reader(text.splitlines())
    try:
        names = [name.strip() for name in next(lines, [])]
        _check_names(names, columns, where)
        rows: list[list[float]] = []
        for cells in lines:
            if cells:
                rows.append(_row(f"{where}, line {lines.line_num}", names, cells, columns, len(rows)))
    except csv.Error as error:
        raise ValueError(f"{where}, line {lines.line_num}: {error}; write one line of numbers a frame") from error
    return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(columns))


def _check_names(names: Sequence[str], columns: Sequence[str], where: str) -> None:
    """Refuses a first line that lacks a column, or names one twice."""
    takes = f"these weights take {', '.join(columns)}"
    if lacking := [name for name in columns if name not in names]:
        said = shown(",".join(names))
        there = f" in '{said[:60]}'" if said else ""
        raise ValueError(f"{where}, line 1: no column {', '.join(lacking)}{there}; {takes}, with commas between them")
    if twice := [name for name in columns if names.count(name) > 1]:
        raise ValueError(f"{where}, line 1: names {', '.join(twice)} twice; leave one of each")


def _row(where: str, names: Sequence[str], cells: Sequence[str], columns: Sequence[str], number: int) -> list[float]:
    """The numbers of one line."""
    if len(cells) != len(names):
        raise ValueError(
            f"{where}: {len(cells)} values, but line 1 names {len(names)} columns: give one value for each"
        )
    values = dict(zip(names, cells, strict=True))
    if "frame" in values and values["frame"].strip() != str(number):
        raise ValueError(f"{where}: frame is {values['frame']!r}, but frames count 0, 1, 2, …: here comes {number}")
    row = []
    for name in columns:
        try:
            row.append(float(values[name]))
        except ValueError as error:
            raise ValueError(f"{where}: {name} is {values[name]!r}, no number") from error
        if not abs(row[-1]) <= LARGEST:  # NaN too
            raise ValueError(f"{where}: {name} is {values[name]!r}; every frame needs its numbers")
    return row
