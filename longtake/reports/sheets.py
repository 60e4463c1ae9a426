"""Contact sheets: frames of videos in rows, with a name for each row and a frame around what was known."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from networks.files import whole

Picture = NDArray[np.uint8]
"""Pixels h w 3, RGB."""

SIDE = 96
"""Pixels of a frame's height on a sheet. Source: our choice."""
BORDER = 4
"""Pixels around a frame, in which its kind is shown."""
TEXT = 18
"""Pixels of the line above a row."""
KNOWN, MADE = (230, 119, 0), (255, 255, 255)
"""Colours around frames that the network was given, and around those that it made."""


class Row(NamedTuple):
    """A row of a sheet.

    name: the line above it. frames: f h w 3, uint8. known: f, True for frames that the network was given; empty: none.
    """

    name: str
    frames: Picture
    known: Sequence[bool] = ()


def spread(count: int, most: int) -> list[int]:
    """Places of at most so many of `count` frames, evenly spread, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()


def contact_sheet(rows: Sequence[Row], *, side: int = SIDE) -> Picture:
    """Draws rows below one another.

    Args:
        rows: rows of frames, which may have any sizes.
        side: height of a frame on the sheet, in pixels.

    Returns:
        Pixels h w 3; known frames stand in an orange border.
    """
    import cv2

    drawn = []
    for row in rows:
        known = list(row.known) or [False] * len(row.frames)
        cells = []
        for frame, is_known in zip(row.frames, known, strict=True):
            height, width = frame.shape[:2]
            size = (max(1, round(side * width / height)), side)
            cell = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if height > side else cv2.INTER_NEAREST)
            colour = KNOWN if is_known else MADE
            edges = (BORDER - 1,) * 4
            cell = cv2.copyMakeBorder(cell, *edges, cv2.BORDER_CONSTANT, value=colour)
            cells.append(cv2.copyMakeBorder(cell, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=MADE))
        drawn.append(np.concatenate(cells, axis=1))
    width = max(line.shape[1] for line in drawn)
    parts = []
    for row, line in zip(rows, drawn, strict=True):
        name = np.full((TEXT, width, 3), 255, np.uint8)
        text = row.name.encode("ascii", "replace").decode()  # what OpenCV's letters can show
        cv2.putText(name, text, (BORDER, TEXT - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 40, 40), 1, cv2.LINE_AA)
        empty = np.full((line.shape[0], width - line.shape[1], 3), 255, np.uint8)
        parts += [name, np.concatenate([line, empty], axis=1)]
    return np.concatenate(parts).astype(np.uint8)


def write_picture(path: Path, picture: Picture) -> None:
    """Writes a PNG; it appears complete or not at all.

    Args:
        path: path of the file; its folder is made if need be.
        picture: pixels h w 3.

    Raises:
        OSError: if it cannot be written.
    """
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", picture[..., ::-1])
    with whole(path) as part:
        part.write_bytes(data.tobytes())
