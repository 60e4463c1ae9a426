"""What a walk is: the plan that determines it, and the places of its files."""

from dataclasses import dataclass
from pathlib import Path

from datamodules.freedoom.levels import LEVELS
from datamodules.recording import COLOURS, is_chosen


@dataclass(frozen=True, kw_only=True)
class WalkPlan:
    """Everything that determines a walk; the same plan gives the same frames.

    number: of the walk within its level; size: of the square picture in pixels; frames: length.
    """

    root: str
    level: str
    number: int
    seed: int
    size: int
    frames: int
    tics_per_frame: int
    third_person: bool
    colour: str
    monsters: bool

    @property
    def walk_id(self) -> str:
        """The walk's name, unique within a root."""
        return f"{self.level}-{self.number:04d}"

    @property
    def video(self) -> Path:
        """Where the video lies, relative to the root."""
        return Path("videos") / self.level / f"{self.walk_id}.mp4"

    @property
    def poses(self) -> Path:
        """Where the poses lie, relative to the root."""
        return Path("poses") / self.level / f"{self.walk_id}.csv.gz"

    @property
    def row(self) -> Path:
        """Where the row of the table lies, relative to the root."""
        return Path("rows") / self.level / f"{self.walk_id}.json"

    def is_done(self) -> bool:
        """Whether all three files exist."""
        return all((Path(self.root) / path).is_file() for path in (self.video, self.poses, self.row))


def plan_walk(
    *,
    root: str,
    level: str,
    number: int,
    seed: int,
    size: int,
    frames: int,
    tics_per_frame: int,
    third_person_share: float,
    monsters_share: float,
) -> WalkPlan:
    """Decide view, colour and monsters of a walk from its place alone, evenly over the walks of the corpus."""
    place = LEVELS.index(level)
    return WalkPlan(
        root=root,
        level=level,
        number=number,
        seed=seed,
        size=size,
        frames=frames,
        tics_per_frame=tics_per_frame,
        third_person=is_chosen(number=number, share=third_person_share, phase=place * 0.618034),
        colour=tuple(COLOURS)[(number // 2 + place) % len(COLOURS)],
        monsters=is_chosen(number=number, share=monsters_share, phase=place * 0.381966 + 0.5),
    )
