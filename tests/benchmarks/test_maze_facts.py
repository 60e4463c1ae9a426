"""What counts as a fact that is remembered, on worlds that are made by hand."""

import csv
import gzip
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.maze_facts import SEEN, SEGMENT, WORLDS, Recoloured, counted, judged, measure, worlds_of
from datamodules.mazes.looks import HUES
from longtake import Pipeline
from longtake.testbed.questions import Span


def worlds(size=8, frames=3):
    """Four worlds that differ in a square of 4 pixels a side."""
    made = [np.full((frames, size, size, 3), 100, np.uint8) for _ in WORLDS]
    for number, world in enumerate(made):
        world[:, :4, :4] = 40 * number
    return made


@pytest.mark.parametrize("true", range(4))
def test_a_frame_is_right_where_the_nearest_world_is_the_one_that_was_seen(true):
    made = worlds()[true].copy()
    made[:, 4:] = 255  # where the worlds do not differ nothing counts
    made[1, :4, :4] = 40 * ((true + 1) % 4)
    assert judged(made, worlds(), true, np.ones(3, bool)) == [True, False, True]
    assert judged(made, worlds(), true, np.array([False, True, False])) == [False]


def test_frames_in_which_the_worlds_are_alike_are_not_asked_about():
    alike = [np.zeros((2, 8, 8, 3), np.uint8) for _ in WORLDS]
    assert judged(alike[0], alike, 0, np.ones(2, bool)) == []
    faint = worlds()
    for number, world in enumerate(faint):
        world[:, :4, :4] = 100 + 8 * number  # 24 grey levels at most
    assert judged(faint[0], faint, 0, np.ones(3, bool)) == []


def plan_of(tmp_path, case):
    return worlds_of(case, tmp_path, 1)[0]


def test_a_thing_counts_when_it_comes_back_after_a_segment(tmp_path):
    plan = plan_of(tmp_path, "things")[0]
    views = {10: "RedBall", 150: "TealCube"}  # the first is long gone at the turn, the second is not
    again = {SEEN + 5: "TealCube", SEEN + 60: "RedBall", SEEN + 61: "RedBall;TealCube", SEEN + 62: "RedBall;TealCube"}
    shown = {**views, **again}
    path = tmp_path / "things" / WORLDS[0] / plan.poses
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["frame", "objects"])
        rows.writerows([frame, shown.get(frame, "")] for frame in range(2 * SEEN - 1))
    found = counted("things", plan, Span(video="x", start=SEEN, end=2 * SEEN - 1))
    # the cube was out of view for 16 frames, and then for 56
    assert np.flatnonzero(found).tolist() == [60, 61, 62]
    assert SEEN + 5 - 150 < SEGMENT < SEEN + 61 - (SEEN + 5)


@pytest.mark.slow
def test_weights_that_take_no_poses_are_refused_before_anything_is_rendered(tmp_path):
    pipeline = Pipeline.from_pretrained("vin_freedoom_64")
    told = Namespace(work=tmp_path, mazes=1, workers=1, ratios=[8.0])
    with pytest.raises(ValueError, match="these weights take none: train with control=pose"):
        measure("colour", told, pipeline)
    assert list(tmp_path.iterdir()) == []


def test_worlds_differ_in_one_fact_alone(tmp_path):
    behind = plan_of(tmp_path, "colour")
    assert [plan.colour for plan in behind] == list(WORLDS)
    assert all(plan.third_person for plan in behind)
    assert len({plan.root for plan in behind}) == 4
    assert {replace(plan, root="", colour="red") for plan in behind} == {replace(behind[0], root="", colour="red")}
    recoloured = plan_of(tmp_path, "things")
    mazes = [plan.draw_maze() for plan in recoloured]
    assert isinstance(recoloured[0], Recoloured)
    for maze in mazes:
        assert (maze.looks, maze.signs) == (mazes[0].looks, mazes[0].signs)
        assert [(t.shape, t.x, t.y) for t in maze.things] == [(t.shape, t.x, t.y) for t in mazes[0].things]
    of_first = [maze.things[0].hue for maze in mazes]
    assert len(set(of_first)) == 4
    assert set(of_first) <= set(HUES)
