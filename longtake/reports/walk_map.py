"""A map of a walk as SVG: the way that the camera took, over the blocks of the maze where its layout is known."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

_SIDE = 320
"""Longer side of the map, in the picture's units."""
_PIECES = 48
"""Stretches of the way, each in the colour of its time."""
_STOPS = np.array([[38, 70, 160], [30, 150, 140], [240, 180, 40], [217, 72, 15]], float)


def layout_of(poses: Path) -> dict[str, Any] | None:
    """The layout of the maze that a table of poses lies in: layouts/MAZE.json beside poses/MAZE/WALK.csv.gz.

    Args:
        poses: the table.

    Returns:
        What the file says; None where there is none that can be read.
    """
    for folder in list(poses.absolute().parents)[1:3]:
        file = folder / "layouts" / f"{poses.parent.name}.json"
        if file.is_file():
            try:
                found = json.loads(file.read_text(encoding="utf-8"))
                grid = np.asarray(found["region"], dtype=int)
                usable = grid.ndim == 2 and float(found["block"]) > 0
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                return None
            return found if usable else None
    return None


def walk_map(poses: Tensor, layout: dict[str, Any] | None = None) -> str:
    """Draws a walk: blue where it begins, orange where it ends, with an arrow for where the camera looks at last.

    Args:
        poses: f 4: x, y and z in map units, angle in degrees, anticlockwise from the x axis.
        layout: layout of the maze, as datamodules.mazes writes it; None: the way alone is drawn.

    Returns:
        SVG; x runs to the right and y upwards, as on the game's own map.
    """
    track = poses[:, [0, 1]].double().numpy()
    blocks = _blocks(layout)
    corners = np.concatenate([track, *(np.array([[x, y], [x + size, y + size]]) for x, y, size, _ in blocks)])
    low, span = corners.min(axis=0), max(float(np.ptp(corners, axis=0).max()), 1.0)
    scale = (_SIDE - 20) / span
    height = float(np.ptp(corners[:, 1])) * scale + 20

    def place(x: float, y: float) -> tuple[float, float]:
        return 10 + (x - low[0]) * scale, height - 10 - (y - low[1]) * scale

    parts = []
    for x, y, size, is_room in blocks:
        left, top = place(x, y + size)
        side = f"{size * scale:.1f}"
        kind = "room" if is_room else "way"
        parts.append(f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{side}" height="{side}"/>')
    ends = np.linspace(0, len(track) - 1, min(_PIECES, max(len(track) - 1, 1)) + 1).round().astype(int)
    for number, (first, last) in enumerate(itertools.pairwise(ends.tolist())):
        points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in track[first : last + 1].tolist())
        parts.append(f'<polyline points="{points}" style="stroke:{_colour(number / max(len(ends) - 2, 1))}"/>')
    parts.append(_arrow(*place(*track[-1].tolist()), float(poses[-1, 3])))
    x, y = place(*track[0].tolist())
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill:{_colour(0)}"/>')
    return (
        f'<svg class="walk" viewBox="0 0 {_SIDE} {height:.0f}" role="img"><title>the walk</title>{"".join(parts)}</svg>'
    )


def _blocks(layout: dict[str, Any] | None) -> list[tuple[float, float, float, bool]]:
    """Open blocks: x, y and side in map units, and whether a block belongs to a room."""
    if layout is None:
        return []
    size = float(layout["block"])
    rooms = {each.get("region") for each in layout.get("rooms", []) if isinstance(each, dict)}
    grid = np.asarray(layout["region"], dtype=int)
    return [
        (column * size, row * size, size, int(grid[row, column]) in rooms)
        for row, column in np.argwhere(grid >= 0).tolist()
    ]


def _colour(share: float) -> str:
    place = share * (len(_STOPS) - 1)
    low = min(int(place), len(_STOPS) - 2)
    red, green, blue = (_STOPS[low] + (place - low) * (_STOPS[low + 1] - _STOPS[low])).round().astype(int)
    return f"rgb({red},{green},{blue})"


def _arrow(x: float, y: float, degrees: float) -> str:
    shape = "9,0 -5,5 -2,0 -5,-5"
    turn = f"translate({x:.1f} {y:.1f}) rotate({-degrees:.1f})"
    return f'<polygon points="{shape}" transform="{turn}" style="fill:{_colour(1)}"/>'
