"""A maze as a game file: UDMF text, PNG textures, things and a palette, in a PWAD over freedoom2.wad."""

import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datamodules.mazes import looks
from datamodules.mazes.layout import BLOCK, Cell, Maze

MAP = "MAP01"
_FIRST_THING = 20_000  # numbers that the game leaves to others
_LIGHTS = {"A": 1.0, "B": looks.SHADED}  # of walls along x and along y
_DEFINED = "actor {name} {number} {{\nRadius 12\nHeight 48\nStates {{\nSpawn:\n{sprite} A -1\nstop\n}}\n}}"
_ALWAYS = "skill1=true;skill2=true;skill3=true;skill4=true;skill5=true;single=true;coop=true;dm=true;"

Lump = tuple[str, bytes]
Point = tuple[int, int]


def base_wad() -> Path:
    """Return the game file inside the ViZDoom package that a level lies over."""
    import vizdoom

    return Path(vizdoom.__file__).parent / "freedoom2.wad"


def build_level(*, maze: Maze, start: tuple[float, float], angle: float) -> bytes:
    """Build the game file of a maze.

    Args:
        maze: the maze.
        start: place where the marine begins: x and y in map units.
        angle: whither he looks, in whole degrees.
    """
    sprites = {thing.name: f"M{index:03d}" for index, thing in enumerate(maze.things)}
    actors = [
        _DEFINED.format(name=name, number=_FIRST_THING + index, sprite=sprite)
        for index, (name, sprite) in enumerate(sprites.items())
    ]
    pictures = [
        (f"{sprites[thing.name]}A0", _sprite(looks.thing(shape=thing.shape, hue=thing.hue))) for thing in maze.things
    ]
    things = [(round(start[0]), round(start[1]), round(angle), 1)]
    things += [(thing.x, thing.y, 0, _FIRST_THING + index) for index, thing in enumerate(maze.things)]
    colours = looks.palette(base=_base_palette())
    lumps: list[Lump] = [
        ("PLAYPAL", colours.tobytes() * 14),  # the game's other palettes are flashes, which are off
        ("DECORATE", "\n".join(actors).encode()),
        ("TX_START", b""),
        *_textures(maze),
        ("TX_END", b""),
        ("S_START", b""),
        *pictures,
        ("S_END", b""),
        (MAP, b""),
        ("TEXTMAP", _text_map(maze=maze, things=things).encode()),
        ("ENDMAP", b""),
    ]
    return pack(lumps)


def pack(lumps: Sequence[Lump]) -> bytes:
    """Pack named pieces into a PWAD.

    Args:
        lumps: names and bytes of the pieces.

    Returns:
        Bytes of the file.

    Raises:
        ValueError: a name stands twice, or is longer than the eight letters that there is room for.
    """
    for name, count in Counter(name for name, _ in lumps).items():
        if count > 1:
            msg = f"the name {name} stands {count} times in one game file; give every texture a name of its own."
            raise ValueError(msg)
        if len(name) > 8:
            msg = f"the name {name} has {len(name)} letters; a game file has room for 8."
            raise ValueError(msg)
    body, directory, at = b"", b"", 12
    for name, data in lumps:
        directory += struct.pack("<ii8s", at, len(data), name.encode())
        body += data
        at += len(data)
    return struct.pack("<4sii", b"PWAD", len(lumps), at) + body + directory


def unpack(data: bytes) -> list[Lump]:
    """Return the named pieces of a game file.

    Args:
        data: bytes of the file.

    Returns:
        Names and bytes of the pieces.

    Raises:
        ValueError: it is no game file, or ends before it promised to.
    """
    if len(data) < 12 or data[:4] not in (b"IWAD", b"PWAD"):
        msg = "not a game file: it begins with neither IWAD nor PWAD."
        raise ValueError(msg)
    count, at = struct.unpack("<ii", data[4:12])
    if at + 16 * count > len(data):
        msg = f"truncated: its directory of {count} pieces ends at byte {at + 16 * count} of {len(data)}."
        raise ValueError(msg)
    entries = [struct.unpack("<ii8s", data[at + 16 * i : at + 16 * (i + 1)]) for i in range(count)]
    return [(name.rstrip(b"\0").decode(), data[start : start + size]) for start, size, name in entries]


@cache
def _base_palette() -> NDArray[np.uint8]:
    first = dict(reversed(unpack(base_wad().read_bytes())))["PLAYPAL"][:768]
    return np.frombuffer(first, dtype=np.uint8).reshape(256, 3)


def png(picture: NDArray[np.uint8], *, foot: Point | None = None) -> bytes:
    """Encode a picture, h w 3 or h w 4; foot: x and y of the point that stands on the floor, for things.

    OpenCV writes PNG too, but not the game's chunk with that point.
    """
    height, width, channels = picture.shape
    rows = b"".join(b"\0" + picture[y].tobytes() for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 6, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    if foot is not None:
        chunks.insert(1, (b"grAb", struct.pack(">ii", *foot)))
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _sprite(picture: NDArray[np.uint8]) -> bytes:
    height, width, _ = picture.shape
    return png(picture, foot=(width // 2, height))


def _textures(maze: Maze) -> list[Lump]:
    """Two walls, a floor and a ceiling for every region, and every sign."""
    lumps: list[Lump] = []
    for number, look in enumerate(maze.looks):
        for side, light in _LIGHTS.items():
            lumps.append((f"W{number:03d}{side}", png(_wall(maze=maze, region=number, light=light))))
        lumps.append((f"F{number:03d}", png(looks.floor(hue=look.floor, pattern=look.floor_pattern))))
        lumps.append((f"C{number:03d}", png(looks.ceiling(hue=look.ceiling, pattern=look.ceiling_pattern))))
    for index, sign in enumerate(maze.signs):
        light = _LIGHTS[_direction(sign.side)]
        ground = _wall(maze=maze, region=int(maze.region[sign.block]), light=light)
        lumps.append((f"S{index:03d}", png(looks.sign(ground=ground, shape=sign.shape, hue=sign.hue, light=light))))
    return lumps


def _wall(*, maze: Maze, region: int, light: float) -> looks.Picture:
    look = maze.looks[region]
    return looks.wall(hue=look.wall, accent=look.wall_accent, pattern=look.wall_pattern, light=light)


def _direction(side: Cell) -> str:
    """Which of the two kinds of wall lies at a side of a block: A along x, B along y."""
    return "A" if side[0] else "B"


def _text_map(*, maze: Maze, things: Sequence[tuple[int, int, int, int]]) -> str:
    """The level in UDMF: one sector a region, one-sided lines at walls, two-sided ones between regions."""
    signs = {(sign.block, sign.side): f"S{index:03d}" for index, sign in enumerate(maze.signs)}
    vertices: dict[Point, int] = {}
    lines: list[str] = []
    sides: list[str] = []

    def vertex(point: Point) -> int:
        return vertices.setdefault(point, len(vertices))

    def side(region: int, **textures: str) -> int:
        named = "".join(f'texture{part}="{name}";' for part, name in textures.items())
        sides.append(f"sidedef{{sector={region};{named}}}")
        return len(sides) - 1

    for row, column in np.argwhere(maze.region >= 0):
        here = int(maze.region[row, column])
        for step, (first, second) in _edges(int(row), int(column)).items():
            other = int(maze.region[row + step[0], column + step[1]])
            kind = _direction(step)
            ends = f"v1={vertex(first)};v2={vertex(second)};"
            if other < 0:
                name = signs.get(((int(row), int(column)), step), f"W{here:03d}{kind}")
                lines.append(f"linedef{{{ends}sidefront={side(here, middle=name)};blocking=true;dontpegbottom=true;}}")
            elif other != here and sum(step) > 0:
                front, back = side(here, top=f"W{here:03d}{kind}"), side(other, top=f"W{other:03d}{kind}")
                lines.append(f"linedef{{{ends}sidefront={front};sideback={back};twosided=true;}}")
    sectors = [
        f'sector{{texturefloor="F{number:03d}";textureceiling="C{number:03d}";heightceiling={look.height};lightlevel=255;}}'
        for number, look in enumerate(maze.looks)
    ]
    placed = [f"thing{{x={x};y={y};angle={angle};type={kind};{_ALWAYS}}}" for x, y, angle, kind in things]
    corners = [f"vertex{{x={x};y={y};}}" for x, y in vertices]
    return "\n".join(['namespace="zdoom";', *corners, *lines, *sides, *sectors, *placed])


def _edges(row: int, column: int) -> dict[Cell, tuple[Point, Point]]:
    """The four sides of a block, each with its ends in the order that has the block on the right."""
    left, low = column * BLOCK, row * BLOCK
    right, high = left + BLOCK, low + BLOCK
    return {
        (-1, 0): ((right, low), (left, low)),
        (1, 0): ((left, high), (right, high)),
        (0, -1): ((left, low), (left, high)),
        (0, 1): ((right, high), (right, low)),
    }
