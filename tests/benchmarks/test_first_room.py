"""What is asked about the first room, and what is made of the answers."""

import gzip
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.first_room import GIVEN, PARTS, makers, picture, questions_of, record_of, sheets_of
from datamodules.mazes.testbed import plan_walks

FRAMES = 2 * GIVEN + 7
PACKED = gzip.compress(b"frame,x\n")


def walks_in(tmp_path, mazes=2):
    """Planned walks of `FRAMES` frames, whose files are made by hand."""
    settings = {"mazes": mazes, "seed": 1000, "size": 64, "frames": FRAMES, "most_cells": 3, "patterned": False}
    walks = [plan for plan in plan_walks(root=tmp_path / "walks", **settings) if plan.kind == "backtrack"]
    for plan in walks:
        for name, content in ((plan.video, plan.maze_name.encode()), (plan.poses, PACKED)):
            (tmp_path / "walks" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "walks" / name).write_bytes(content)
    return walks


def test_the_end_of_a_walk_shows_in_reverse_what_was_given(tmp_path):
    plan = walks_in(tmp_path)[0]
    track = plan.plan(maze=plan.draw_maze()).track
    assert len(track) == FRAMES
    np.testing.assert_array_equal(track[1 - GIVEN :], track[: GIVEN - 1][::-1])


def test_all_but_the_beginning_is_asked_for_and_another_maze_is_the_control(tmp_path):
    questions = questions_of(walks_in(tmp_path), tmp_path, FRAMES)
    first, second = questions
    assert (len(first.context), len(first.target), first.target.start) == (GIVEN, FRAMES - GIVEN, GIVEN)
    assert first.maze != second.maze
    assert (first.other, second.other) == (second.id, first.id)
    assert (tmp_path / "videos" / f"{first.id}.mp4").read_bytes() == first.maze.encode()
    assert (tmp_path / "poses" / f"{first.id}.csv").read_text() == "frame,x\n"


def test_every_row_has_its_own_memory():
    asked = []
    answerer = SimpleNamespace(
        answer=lambda question, method: asked.append((method.memory, method.ratio)),
        reconstruct=lambda question: asked.append("codec"),
        testbed=SimpleNamespace(repeated=lambda question: asked.append("repeated")),
    )
    ways = makers(answerer, 8.0)
    for make in ways.values():
        make(None)
    assert list(ways) == [
        "codec",
        "window",
        "memory, ratio 8",
        "another maze's beginning",
        "last given frame, repeated",
    ]
    assert asked == ["codec", ("none", 1.0), ("own", 8.0), ("other_maze", 8.0), "repeated"]


def test_what_was_given_is_scored_apart_and_beside_the_window():
    truth = np.zeros((800, 4, 4, 3), np.uint8)
    near, far = truth + 16, truth + 64
    near[: 1 - GIVEN] = 64  # right only where it was given
    question = SimpleNamespace(maze="00009")
    record = record_of(question, {"window": far, "memory": near}, truth)
    assert record["again"]["window"] == pytest.approx(20 * np.log10(255 / 64), abs=1e-4)
    assert record["again"]["memory"] == pytest.approx(20 * np.log10(255 / 16), abs=1e-4)
    assert len(record["parts"]["memory"]) == PARTS
    assert record["parts"]["memory"][0] == pytest.approx(record["parts"]["window"][0])
    again, on_the_way = sheets_of([record, {**record, "maze": "00019"}], 961)
    assert again.rows[1][0] == "memory"
    assert again.rows[1][2].startswith("12.04 ")
    assert on_the_way.heads[1] == "to frame 261"
    assert on_the_way.heads[-1] == "to frame 961"
    shown = picture({"window": far, "memory": near}, truth)
    assert shown.size == (40, 12)
    assert np.array(shown)[:, 0, 0].tolist() == [0] * 4 + [64] * 4 + [16] * 4
