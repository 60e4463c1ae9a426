"""The floor plan of a level, read from the game file: which ways are free, where doors and good places to start are.

Steering by the plan sees behind the marine as well as before it, and knows exits and teleporters, which would end a
walk or cut it. Bearings are degrees from straight ahead, positive to the left; distances are map units.
"""

import functools
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datamodules.freedoom.levels import wad_path

REACH = 640.0  # beyond this all space counts as equally open
BEARINGS: NDArray[np.float64] = np.arange(-180.0, 180.0, 5.0)
_BODY = 26.0  # room a marine (32 wide) needs on each side of its way
_STEP = 24  # the highest step that can be climbed
_TALL = 56  # height of a marine
_DOORS = (1, 31, 117, 118)  # doors opened by hand, without a key
_SHUNNED = (11, 39, 51, 52, 97, 124, 174, 195, 197, 198)  # exits and teleporters
# Things that stand in the way: barrels, lamps, pillars, torches, trees, stakes.
_SOLID = (2035, 2028, 70, 85, 86, *range(25, 31), *range(31, 38), *range(41, 58), *range(73, 79))
_SOLID_RADIUS = 22.0
# Things to pick up: they lie where a marine can stand.
_PICKUPS = (5, 6, 8, 13, 17, 38, 39, 40, 82, 83, *range(2001, 2027), *range(2045, 2050))
_RECORDS = {
    "THINGS": [("x", "<i2"), ("y", "<i2"), ("angle", "<i2"), ("kind", "<i2"), ("flags", "<i2")],
    "LINEDEFS": [(name, "<u2") for name in ("start", "end", "flags", "special", "tag", "front", "back")],
    "SIDEDEFS": [("skipped", "V28"), ("sector", "<u2")],
    "VERTEXES": [("x", "<i2"), ("y", "<i2")],
    "SECTORS": [("floor", "<i2"), ("ceiling", "<i2"), ("skipped", "V22")],
}
_NO_SIDE = 0xFFFF
_MULTIPLAYER_ONLY = 16


class Surroundings(NamedTuple):
    """What is free about a marine along each of `BEARINGS`.

    free: n, units that can be walked; beside: n, units to the nearest wall beside the first steps, at most 96;
    door_ahead: a closed door that can be opened by hand is within reach straight ahead.
    """

    free: NDArray[np.float64]
    beside: NDArray[np.float64]
    door_ahead: bool


class LevelMap:
    """The plan of one level."""

    def __init__(self, *, level: str) -> None:
        """Read the plan of a level, such as "E1M3" or "map05"."""
        lumps = _read_lumps(level=level)
        things = lumps["THINGS"][(lumps["THINGS"]["flags"] & _MULTIPLAYER_ONLY) == 0]
        solid = things[np.isin(things["kind"], _SOLID)]
        pickups = things[np.isin(things["kind"], _PICKUPS)]
        self.pickups: list[tuple[float, float]] = [(float(thing["x"]), float(thing["y"])) for thing in pickups]
        ends, walls, drops, doors = _sort_lines(lumps=lumps)
        posts = _posts(x=solid["x"].astype(np.float64), y=solid["y"].astype(np.float64))
        # Segments as x1, y1, x2, y2.
        self._walls = np.concatenate([ends[walls & ~drops], posts])
        self._walls_and_drops = np.concatenate([ends[walls | drops], posts])
        self._doors = ends[doors]

    def around(self, *, x: float, y: float, angle: float, may_drop: bool) -> Surroundings:
        """Return what is free about a place, for someone looking along an angle (degrees).

        Steps too high to climb count as walls from both sides, so that there is a way back, unless `may_drop`.
        """
        segments = self._walls if may_drop else self._walls_and_drops
        free, beside = _room(distances=_cast(segments=segments, x=x, y=y, angles=BEARINGS + angle))
        door = _cast(segments=self._doors, x=x, y=y, angles=np.array([angle]))[0]
        return Surroundings(free=free, beside=beside, door_ahead=bool(door < 72.0))

    def openness(self, *, x: float, y: float) -> float:
        """Return how open a place is: the mean free distance without dropping, in map units."""
        free, _ = _room(distances=_cast(segments=self._walls_and_drops, x=x, y=y, angles=BEARINGS))
        return float(free.mean())


@functools.lru_cache(maxsize=2)
def load_map(*, level: str) -> LevelMap:
    """Return the plan of a level, read once."""
    return LevelMap(level=level)


def _read_lumps(*, level: str) -> dict[str, NDArray[np.void]]:
    data = wad_path(level=level).read_bytes()
    count, start = struct.unpack_from("<ii", data, 4)
    entries = [struct.unpack_from("<ii8s", data, start + 16 * index) for index in range(count)]
    names = [entry[2].rstrip(b"\0").decode("ascii") for entry in entries]
    first = names.index(level.upper())
    lumps = {}
    for index in range(first + 1, first + 11):
        if names[index] in _RECORDS:
            offset, size, _ = entries[index]
            lumps[names[index]] = np.frombuffer(data[offset : offset + size], dtype=np.dtype(_RECORDS[names[index]]))
    return lumps


def _sort_lines(
    *, lumps: dict[str, NDArray[np.void]]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return all lines as segments, and which are walls, which are steps too high to return, which are doors."""
    lines, vertices, sectors = lumps["LINEDEFS"], lumps["VERTEXES"], lumps["SECTORS"]
    start, end = vertices[lines["start"]], vertices[lines["end"]]
    ends = np.stack([start["x"], start["y"], end["x"], end["y"]], axis=1).astype(np.float64)
    one_sided = lines["back"] == _NO_SIDE
    side_sectors = lumps["SIDEDEFS"]["sector"]
    front = sectors[side_sectors[lines["front"]]]
    back = sectors[side_sectors[np.where(one_sided, lines["front"], lines["back"])]]
    gap = np.minimum(front["ceiling"], back["ceiling"]) - np.maximum(front["floor"], back["floor"])
    doors = np.isin(lines["special"], _DOORS) & ~one_sided
    blocking = (lines["flags"] & 1) == 1
    walls = one_sided | blocking | np.isin(lines["special"], _SHUNNED) | ((gap < _TALL) & ~doors)
    drops = np.abs(front["floor"].astype(np.int64) - back["floor"]) > _STEP
    return ends, walls, drops & ~walls & ~doors, doors


def _posts(*, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    corners = [(_SOLID_RADIUS, 0.0), (0.0, _SOLID_RADIUS), (-_SOLID_RADIUS, 0.0), (0.0, -_SOLID_RADIUS)]
    sides = [
        np.stack([x + x1, y + y1, x + x2, y + y2], axis=1)
        for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True)
    ]
    return np.concatenate(sides)


def _cast(*, segments: NDArray[np.float64], x: float, y: float, angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far a ray along each angle goes until it meets a segment, at most `REACH`."""
    x1, y1, x2, y2 = (segments - np.array([x, y, x, y])).T
    near = (np.minimum(x1, x2) < REACH) & (np.maximum(x1, x2) > -REACH)
    near &= (np.minimum(y1, y2) < REACH) & (np.maximum(y1, y2) > -REACH)
    if not near.any():
        return np.full(len(angles), REACH)
    x1, y1, dx, dy = x1[near], y1[near], (x2 - x1)[near], (y2 - y1)[near]
    radians = np.radians(angles)[:, None]
    cos, sin = np.cos(radians), np.sin(radians)
    across = cos * dy - sin * dx
    across = np.where(np.abs(across) < 1e-9, 1e-9, across)
    along_ray = (x1 * dy - y1 * dx) / across
    along_segment = (x1 * sin - y1 * cos) / across
    hit = (along_ray > 0.0) & (along_segment >= 0.0) & (along_segment <= 1.0)
    distances: NDArray[np.float64] = np.where(hit, along_ray, REACH).min(axis=1)
    return np.minimum(distances, REACH)


def _room(*, distances: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Turn distances of thin rays into free ways of a body, and the room beside them."""
    between = np.radians(BEARINGS[:, None] - BEARINGS[None, :])
    ahead = distances[None, :] * np.cos(between)
    aside = np.abs(distances[None, :] * np.sin(between))
    in_the_way = (ahead > 0.0) & (aside < _BODY) & (distances[None, :] < REACH)
    free = np.where(in_the_way, ahead, REACH).min(axis=1)
    beside = np.where((ahead > 0.0) & (ahead < 160.0), aside, 96.0)
    return free, np.minimum(beside.min(axis=1), 96.0)
