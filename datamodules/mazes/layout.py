"""A maze: rooms and corridors on a grid of blocks, what each looks like, and what stands in it.

Blocks are counted by row and column; block (row, column) covers x from column to column + 1 and y from row to row + 1,
times `BLOCK` map units. Everything is drawn from the maze's own seed: nothing but having seen a room tells its look.
"""

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.mazes.looks import HUES, SHAPES, SIGNS, patterns_of

BLOCK = 128  # map units
PITCH = 4  # blocks from the middle of a cell to that of the next
# Source: our choice: with room for 317 frames of walking, a walk sees a third to a half of a maze of 3 x 3 cells.
_JUNCTION_SHARE = 0.2  # of cells with more than one way out, that are no rooms
_LOOP_SHARE = 0.4  # of walls between neighbouring cells that a tree left standing, opened
_HEIGHTS = (128, 160, 192)  # of rooms, in map units
_SPLITS = ("train",) * 4 + ("validation",) + ("train",) * 4 + ("test",)

Cell = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a region looks like: names of hues and patterns; height of its ceiling in map units."""

    wall: str
    wall_accent: str
    wall_pattern: str
    floor: str
    floor_pattern: str
    ceiling: str
    ceiling_pattern: str
    height: int


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something that stands in a room: its shape and hue, and where, in map units."""

    shape: str
    hue: str
    x: int
    y: int

    @property
    def name(self) -> str:
        """The name by which the game and the side files call it, such as "RedBall"; unique in a maze."""
        return f"{self.hue.capitalize()}{self.shape.capitalize()}"


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A picture on a wall: the block in front of it, the side of the block (row and column step), shape and hue."""

    block: Cell
    side: Cell
    shape: str
    hue: str


@dataclass(frozen=True, kw_only=True)
class Maze:
    """A maze.

    region: h w, the number of every open block's region, -1 where it is solid; cells: of the coarse grid of rows and
    columns; links: pairs of neighbouring cells with a way between them; rooms: region of every cell that is a room;
    looks: one a region.
    """

    number: int
    seed: int
    cells: Cell
    region: NDArray[np.int64]
    links: tuple[tuple[Cell, Cell], ...]
    rooms: dict[Cell, int]
    looks: tuple[Look, ...]
    things: tuple[Thing, ...]
    signs: tuple[Sign, ...]

    @property
    def name(self) -> str:
        """The maze's name, unique within a root."""
        return f"{self.number:05d}"

    def neighbours(self, cell: Cell) -> list[Cell]:
        """The cells that a way leads to from a cell."""
        return [b if a == cell else a for a, b in self.links if cell in (a, b)]

    def region_at(self, *, x: float, y: float) -> int:
        """The region of a place in map units, -1 outside."""
        row, column = int(y // BLOCK), int(x // BLOCK)
        height, width = self.region.shape
        return int(self.region[row, column]) if 0 <= row < height and 0 <= column < width else -1

    def describe(self) -> dict[str, Any]:
        """The whole layout as plain values, for a JSON file; the grid as rows of region numbers, -1 for solid."""
        return {
            "number": self.number,
            "seed": self.seed,
            "split": split_of(number=self.number),
            "block": BLOCK,
            "region": self.region.tolist(),
            "cells": list(self.cells),
            "links": [[list(a), list(b)] for a, b in self.links],
            "rooms": [{"cell": list(cell), "region": region} for cell, region in self.rooms.items()],
            "looks": [asdict(look) for look in self.looks],
            "things": [{"name": thing.name, **asdict(thing)} for thing in self.things],
            "signs": [asdict(sign) | {"block": list(sign.block), "side": list(sign.side)} for sign in self.signs],
        }


def split_of(*, number: int) -> str:
    """Return the split of a maze by its number alone: one in ten for validation and for test, whatever the seed."""
    return _SPLITS[number % len(_SPLITS)]


def centre_of(cell: Cell) -> tuple[float, float]:
    """The middle of a cell: x and y in map units."""
    row, column = _middle(cell)
    return (column + 0.5) * BLOCK, (row + 0.5) * BLOCK


def draw_maze(*, seed: int, number: int, most_cells: int, patterned: bool) -> Maze:
    """Draw a maze.

    Args:
        seed: seed of the corpus.
        number: number of the maze; with the other arguments it determines everything.
        most_cells: cells along a side, at most; at least 2.
        patterned: whether surfaces have fine patterns, or plain and coarse ones.

    Raises:
        ValueError: most_cells is below 2, or so large that this maze has more things than there are kinds of them.
    """
    if most_cells < 2:
        msg = f"most_cells is {most_cells}; a maze with a loop needs at least 2 cells along a side."
        raise ValueError(msg)
    rng = np.random.default_rng([seed, number, 0x3A2E])
    rows, columns = (int(rng.integers(2, most_cells + 1)) for _ in range(2))
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    links = _draw_links(rng=rng, rows=rows, columns=columns)
    region = np.full((PITCH * rows + 1, PITCH * columns + 1), -1, dtype=np.int64)
    rooms: dict[Cell, int] = {}
    for count, cell in enumerate(cells):
        ways = sum(cell in link for link in links)
        is_room = ways < 2 or rng.random() >= _JUNCTION_SHARE
        _carve(region=region, middle=_middle(cell), number=count, rng=rng if is_room else None)
        if is_room:
            rooms[cell] = count
    for count, (a, b) in enumerate(links, start=len(cells)):
        _join(region=region, first=_middle(a), second=_middle(b), number=count)
    looks = _draw_looks(rng=rng, count=len(cells) + len(links), rooms=set(rooms.values()), patterned=patterned)
    return Maze(
        number=number,
        seed=seed,
        cells=(rows, columns),
        region=region,
        links=links,
        rooms=rooms,
        looks=looks,
        things=_draw_things(rng=rng, region=region, rooms=rooms),
        signs=_draw_signs(rng=rng, region=region, rooms=rooms, looks=looks),
    )


def _middle(cell: Cell) -> Cell:
    return PITCH * cell[0] + PITCH // 2, PITCH * cell[1] + PITCH // 2


def _draw_links(*, rng: np.random.Generator, rows: int, columns: int) -> tuple[tuple[Cell, Cell], ...]:
    """A tree over all cells, grown at random, and some of the other ways: at least one, so that there is a loop."""
    pairs = [((r, c), (r, c + 1)) for r in range(rows) for c in range(columns - 1)]
    pairs += [((r, c), (r + 1, c)) for r in range(rows - 1) for c in range(columns)]
    order = [pairs[int(index)] for index in rng.permutation(len(pairs))]
    groups = {(r, c): {(r, c)} for r in range(rows) for c in range(columns)}
    chosen, others = [], []
    for a, b in order:
        if groups[a] is groups[b]:
            others.append((a, b))
            continue
        chosen.append((a, b))
        groups[a] |= groups[b]
        for cell in groups[b]:
            groups[cell] = groups[a]
    opened = [pair for index, pair in enumerate(others) if index == 0 or rng.random() < _LOOP_SHARE]
    return tuple(sorted(chosen + opened))


def _carve(*, region: NDArray[np.int64], middle: Cell, number: int, rng: np.random.Generator | None) -> None:
    """Opens a room of two or three blocks a side about a middle, or the middle alone where there is no generator."""
    spans = []
    for place in middle:
        before, after = (0, 0) if rng is None else ((1, 1), (1, 1), (0, 1), (1, 0))[int(rng.integers(4))]
        spans.append(slice(place - before, place + after + 1))
    region[spans[0], spans[1]] = number


def _join(*, region: NDArray[np.int64], first: Cell, second: Cell, number: int) -> None:
    """Opens what is solid on the straight way between two middles."""
    way = region[first[0] : second[0] + 1, first[1] : second[1] + 1]
    way[way < 0] = number


def _draw_looks(*, rng: np.random.Generator, count: int, rooms: set[int], patterned: bool) -> tuple[Look, ...]:
    """Looks of all regions; no two have the same wall, nor, as long as hues last, the same hue of wall."""
    walls, floors, ceilings = (patterns_of(part, patterned=patterned) for part in ("walls", "floors", "ceilings"))
    hues, patterns = (
        list(itertools.chain.from_iterable(rng.permutation(names) for _ in range(count // len(names) + 1)))
        for names in (HUES, walls)
    )
    looks: list[Look] = []
    sky = str(rng.choice(HUES))  # one ceiling throughout, where surfaces are plain
    for number in range(count):
        wall, pattern = str(hues[number]), str(patterns[number])
        taken = {(look.wall, look.wall_pattern) for look in looks}
        pattern = next((name for name in (pattern, *walls) if (wall, name) not in taken), pattern)
        floor = str(rng.choice([hue for hue in HUES if hue != wall]))
        looks.append(
            Look(
                wall=wall,
                wall_accent=str(rng.choice([hue for hue in HUES if hue != wall])) if patterned else wall,
                wall_pattern=pattern,
                floor=floor,
                floor_pattern=str(rng.choice(floors)),
                ceiling=str(rng.choice([hue for hue in HUES if hue not in (wall, floor)])) if patterned else sky,
                ceiling_pattern=str(rng.choice(ceilings)),
                height=int(rng.choice(_HEIGHTS)) if number in rooms else _HEIGHTS[0],
            )
        )
    return tuple(looks)


def _draw_things(*, rng: np.random.Generator, region: NDArray[np.int64], rooms: dict[Cell, int]) -> tuple[Thing, ...]:
    """One to three things in the corners of every room, off the ways through it; no two of a maze are alike."""
    kinds = [(shape, hue) for shape in SHAPES for hue in HUES]
    order = iter(rng.permutation(len(kinds)))
    things: list[Thing] = []
    for cell, number in rooms.items():
        row, column = _middle(cell)
        corners = [(r, c) for r, c in np.argwhere(region == number) if r != row and c != column]
        for index in rng.permutation(len(corners))[: int(rng.integers(1, 4))]:
            if len(things) == len(kinds):
                msg = (
                    f"a maze of {len(rooms)} rooms needs more than the {len(kinds)} things that there are; no two of a "
                    "maze are alike, so give most_cells=8 or fewer."
                )
                raise ValueError(msg)
            shape, hue = kinds[int(next(order))]
            y, x = (int((place + 0.5) * BLOCK) + int(rng.integers(-16, 17)) for place in corners[int(index)])
            things.append(Thing(shape=shape, hue=hue, x=x, y=y))
    return tuple(things)


def _draw_signs(
    *, rng: np.random.Generator, region: NDArray[np.int64], rooms: dict[Cell, int], looks: tuple[Look, ...]
) -> tuple[Sign, ...]:
    """One or two pictures on the walls of every room, of a hue that the wall has not."""
    signs = []
    for number in rooms.values():
        faces = [
            ((int(r), int(c)), side)
            for r, c in np.argwhere(region == number)
            for side in ((-1, 0), (1, 0), (0, -1), (0, 1))
            if region[r + side[0], c + side[1]] < 0
        ]
        free = [hue for hue in HUES if hue not in (looks[number].wall, looks[number].wall_accent)]
        for index in rng.permutation(len(faces))[: int(rng.integers(1, 3))]:
            block, side = faces[int(index)]
            signs.append(Sign(block=block, side=side, shape=str(rng.choice(list(SIGNS))), hue=str(rng.choice(free))))
    return tuple(signs)
