"""What a walk through a maze is: the plan that determines it, and the places of its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datamodules.mazes.layout import Maze, draw_maze
from datamodules.mazes.walks import Walk, plan_walk
from datamodules.recording import COLOURS, is_chosen

CUT = "cut"
"""The kind that takes two walks of one maze: "leave" and, after a cut, "rejoin"."""
_KIND, _WAY, _TEXT, _HOME = range(4)  # one stream of chance each


@dataclass(frozen=True, kw_only=True)
class WalkPlan:
    """Everything that determines a walk; the same plan gives the same frames.

    maze and number: of the maze in the corpus and of the walk in the maze; most_cells: cells along a side of the maze,
    at most; patterned: whether its surfaces have fine patterns; kind: one of `datamodules.mazes.walks.KINDS`; size: of
    the square picture in pixels; frames: length;
    silent: whether its captions are empty.
    """

    root: str
    maze: int
    number: int
    seed: int
    most_cells: int
    patterned: bool
    kind: str
    size: int
    frames: int
    third_person: bool
    colour: str
    silent: bool

    @property
    def maze_name(self) -> str:
        """The maze's name, and that of the folders of its walks."""
        return f"{self.maze:05d}"

    @property
    def walk_id(self) -> str:
        """The walk's name, unique within a root."""
        return f"{self.maze_name}-{self.number:02d}"

    @property
    def video(self) -> Path:
        """Where the video lies, relative to the root."""
        return Path("videos") / self.maze_name / f"{self.walk_id}.mp4"

    @property
    def poses(self) -> Path:
        """Where the poses lie, relative to the root."""
        return Path("poses") / self.maze_name / f"{self.walk_id}.csv.gz"

    @property
    def row(self) -> Path:
        """Where the row of the table lies, relative to the root."""
        return Path("rows") / self.maze_name / f"{self.walk_id}.json"

    @property
    def layout(self) -> Path:
        """Where the layout of the maze lies, relative to the root."""
        return Path("layouts") / f"{self.maze_name}.json"

    def is_done(self) -> bool:
        """Whether all four files exist."""
        places = (self.video, self.poses, self.row, self.layout)
        return all((Path(self.root) / path).is_file() for path in places)

    def draw_maze(self) -> Maze:
        """The maze that is walked in."""
        return draw_maze(seed=self.seed, number=self.maze, most_cells=self.most_cells, patterned=self.patterned)

    def plan(self, *, maze: Maze) -> Walk:
        """Where the marine is at every frame."""
        home = None
        if self.kind in ("leave", "rejoin"):  # both walks of a cut have the same home
            cells = sorted(maze.rooms)
            home = cells[int(self.chance(_HOME, pair=True).integers(len(cells)))]
        return plan_walk(maze=maze, kind=self.kind, frames=self.frames, rng=self.chance(_WAY), home=home)

    def wording(self) -> np.random.Generator:
        """What chooses among words."""
        return self.chance(_TEXT)

    def chance(self, stream: int, *, pair: bool = False) -> np.random.Generator:
        """A stream of chance of this walk, or of both walks of its pair."""
        return _chance(self.seed, self.maze, self.number // 2 if pair else self.number, stream)


def plan_of(
    *,
    root: str,
    maze: int,
    number: int,
    seed: int,
    most_cells: int,
    patterned: bool,
    kinds: Mapping[str, float],
    size: int,
    frames: int,
    third_person_share: float,
    silent_share: float,
) -> WalkPlan:
    """Decide kind, view, colour and captions of a walk from its place alone.

    Walks 0 and 1, 2 and 3, … of a maze are pairs: they have one view and colour, and a cut takes both.
    """
    pair = number // 2
    colours = tuple(COLOURS)
    return WalkPlan(
        root=root,
        maze=maze,
        number=number,
        seed=seed,
        most_cells=most_cells,
        patterned=patterned,
        kind=_kind_of(seed=seed, maze=maze, number=number, kinds=kinds),
        size=size,
        frames=frames,
        third_person=is_chosen(number=maze, share=third_person_share, phase=pair * 0.618034),
        colour=colours[int(_chance(seed, maze, pair, _HOME + 1).integers(len(colours)))],
        silent=is_chosen(number=maze, share=silent_share, phase=number * 0.381966 + 0.5),
    )


def _kind_of(*, seed: int, maze: int, number: int, kinds: Mapping[str, float]) -> str:
    if _chance(seed, maze, number // 2, _KIND).random() < kinds.get(CUT, 0.0):
        return ("leave", "rejoin")[number % 2]
    others = [(kind, share) for kind, share in kinds.items() if kind != CUT and share > 0.0]
    shares = np.asarray([share for _, share in others])
    return others[int(_chance(seed, maze, number, _KIND + 8).choice(len(others), p=shares / shares.sum()))][0]


def _chance(seed: int, maze: int, number: int, stream: int) -> np.random.Generator:
    return np.random.default_rng([seed, maze, number, stream])
