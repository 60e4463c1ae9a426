"""Render the corpus: many walks in several processes, resumable, then one table of all of them."""

from collections.abc import Sequence
from pathlib import Path

from datamodules.freedoom.levels import LEVELS, check_level
from datamodules.freedoom.plans import plan_walk
from datamodules.freedoom.walk_files import render_walk
from datamodules.rendering import check_counts, check_settings, check_shares, render_missing, write_table
from networks.ranges import Seed, Share, Size, Text

COLUMNS = (
    *("path", "text", "short_text", "level", "split", "fps", "num_frames", "height", "width"),
    *("view", "colour", "seed"),
)


def render_corpus(
    *,
    root: Text | Path,
    size: Size,
    levels: Sequence[Text] | None,
    walks_per_level: Size,
    frames_per_walk: Size,
    seed: Seed,
    num_workers: Size,
    third_person_share: Share = 0.5,
    monsters_share: Share = 0.0,
    tics_per_frame: Size = 4,
) -> Path:
    """Render what is missing of a corpus of walks through Freedoom and return the path of its table.

    A killed render continues where it was; more levels or walks may be added to a root later, other settings not.
    Under the root lie `videos/<level>/<walk>.mp4`, `poses/<level>/<walk>.csv.gz` (frame, x, y, z, angle, pitch, leg,
    visible objects), `rows/` (one file for each walk, behind the table) and `table.csv`.

    Args:
        root: folder of the corpus, made if absent.
        size: height and width of the video in pixels, even.
        levels: names such as "E1M3" or "map05"; None for all 68.
        walks_per_level: walks in each level.
        frames_per_walk: frames of each walk.
        seed: with level and walk number it determines every frame.
        num_workers: processes to render in.
        third_person_share: share of walks, in [0, 1], that show the marine from behind.
        monsters_share: share of walks with monsters, in [0, 1].
        tics_per_frame: tics (1/35 s) between frames; 4 gives 8.75 frames a second.

    Raises:
        ValueError: a number out of range, an unknown level, or a root rendered with other settings.
        RuntimeError: not one walk could be rendered.
    """
    chosen = LEVELS if levels is None else tuple(levels)
    for level in chosen:
        check_level(level=level)
    check_counts(
        size=size,
        walks_per_level=walks_per_level,
        frames_per_walk=frames_per_walk,
        num_workers=num_workers,
        tics_per_frame=tics_per_frame,
    )
    check_shares(third_person_share=third_person_share, monsters_share=monsters_share)
    folder = Path(root).resolve()
    settings: dict[str, int | float] = {
        "size": size,
        "frames_per_walk": frames_per_walk,
        "seed": seed,
        "third_person_share": third_person_share,
        "monsters_share": monsters_share,
        "tics_per_frame": tics_per_frame,
    }
    check_settings(root=folder, settings=settings, may_grow="levels or walks")
    plans = [
        plan_walk(
            root=str(folder),
            level=level,
            number=number,
            seed=seed,
            size=size,
            frames=frames_per_walk,
            tics_per_frame=tics_per_frame,
            third_person_share=third_person_share,
            monsters_share=monsters_share,
        )
        for number in range(walks_per_level)
        for level in chosen
    ]
    missing = [plan for plan in plans if not plan.is_done()]
    render_missing(world="Freedoom", plans=missing, render_walk=render_walk, num_workers=num_workers)
    return write_table(root=folder, columns=COLUMNS)
