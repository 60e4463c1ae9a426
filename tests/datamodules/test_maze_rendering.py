"""Rendered walks through mazes: tables, videos, poses, and renders that end early."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_mazes import ALL_KINDS, PLAN, ROOT, SETTINGS, mazes, read_frames, read_poses, read_table

from datamodules.mazes import game as game_module
from datamodules.mazes.layout import BLOCK, centre_of, draw_maze
from datamodules.mazes.level import pack
from datamodules.mazes.plans import plan_of
from datamodules.mazes.render import COLUMNS, render_corpus
from datamodules.mazes.walk_files import COLUMNS as SIDE_COLUMNS
from datamodules.mazes.walk_files import regions_in_view, render_walk
from datamodules.recording import Pose


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return render_corpus(root=tmp_path_factory.mktemp("mazes"), **SETTINGS)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the game makes a folder where it is started


# Rendering


def test_table_videos_poses_and_layouts_belong_together(corpus):
    rows = read_table(corpus)
    assert len(rows) == 4
    for row in rows:
        assert tuple(row) == COLUMNS
        assert (row["split"], float(row["fps"])) == ("train", 8.75)
        frames = read_frames(corpus.parent / row["path"])
        assert frames.shape == (33, 64, 64, 3) == (int(row["num_frames"]), int(row["height"]), int(row["width"]), 3)
        assert frames.std() > 20
        poses = read_poses(corpus.parent / row["poses"])
        assert tuple(poses[0]) == ("frame", *SIDE_COLUMNS)
        layout = json.loads((corpus.parent / row["layout"]).read_text())
        for frame, pose in enumerate(poses):
            block = int(float(pose["y"]) // layout["block"]), int(float(pose["x"]) // layout["block"])
            assert int(pose["frame"]) == frame
            assert layout["region"][block[0]][block[1]] == int(pose["region"])
            assert pose["region"] in pose["regions"].split(";")
            assert set(filter(None, pose["objects"].split(";"))) <= {thing["name"] for thing in layout["things"]}
    assert {row["view"] for row in rows} == {"first_person", "third_person"}
    assert not list(corpus.parent.rglob("*.part*"))


def test_the_marine_is_where_the_plan_says(corpus):
    for row in read_table(corpus):
        number = int(Path(row["path"]).stem.split("-")[1])
        shares = {**PLAN, "third_person_share": 0.5}
        plan = plan_of(root="", maze=int(row["maze"]), number=number, kinds=ALL_KINDS, **shares)
        track = plan.plan(maze=plan.draw_maze()).track
        for pose, (x, y, angle) in zip(read_poses(corpus.parent / row["poses"]), track, strict=True):
            assert np.hypot(float(pose["x"]) - x, float(pose["y"]) - y) < 0.1
            assert abs((float(pose["angle"]) - angle + 180.0) % 360.0 - 180.0) < 0.05


def test_a_backtrack_shows_the_same_pictures_again(tmp_path):
    plan = plan_of(root=str(tmp_path), maze=1, number=0, kinds={"backtrack": 1.0}, **PLAN)
    render_walk(plan)
    frames = read_frames(tmp_path / plan.video)
    assert np.abs(frames[16:] - frames[16::-1]).mean() < 1.5  # what the video file loses
    assert np.abs(frames[16:] - frames[:17]).mean() > 10
    assert json.loads((tmp_path / plan.row).read_text())["turn_frame"] == 16


@pytest.mark.slow
def test_larger_pictures_show_the_same_walk(tmp_path):
    frames = []
    for size in (62, 124):
        root = str(tmp_path / str(size))
        plan = plan_of(root=root, maze=1, number=0, kinds={"explore": 1.0}, **{**PLAN, "size": size, "frames": 5})
        render_walk(plan)
        frames.append(read_frames(Path(root) / plan.video))
    halved = frames[1].reshape(5, 62, 2, 62, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - frames[0]).mean() < 8


@pytest.mark.slow
@pytest.mark.parametrize("patterned", [True, False])
def test_the_game_shows_the_hues_that_were_chosen(tmp_path, patterned):
    # The palette of the game is replaced; the picture must hold the wall's own two lights.
    from datamodules.mazes.looks import SHADED, shade

    maze = draw_maze(seed=3, number=0, most_cells=3, patterned=patterned)
    start = (*centre_of(next(iter(maze.rooms))), 0.0)
    with game_module.Game(maze=maze, start=start, size=240, colour="red", third_person=False, folder=tmp_path) as game:
        picture = game.look().picture.reshape(-1, 3).astype(np.int64)
    # Plain floors are seen from afar: of the place one block ahead.
    look = maze.looks[maze.region_at(x=start[0] + BLOCK, y=start[1])]
    top = shade(look.ceiling, 0.86 if patterned else 0.65)
    lights = [shade(look.floor, 0.76), top, shade(look.wall, 1.0), shade(look.wall, SHADED)]
    found = [np.abs(picture - np.round(light)).max(axis=1).min() for light in lights]
    assert max(sorted(found)[:3]) <= 4  # of the two walls, one may be out of view


@pytest.mark.slow
def test_a_killed_render_continues_and_repeats_the_same_frames(corpus):
    rows = read_table(corpus)
    lost, kept = (corpus.parent / rows[index]["path"] for index in (0, 1))
    before, untouched = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    assert render_corpus(root=corpus.parent, **SETTINGS) == corpus
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == untouched
    assert read_table(corpus) == rows
    more = render_corpus(root=corpus.parent, **{**SETTINGS, "walks_per_maze": 3})
    assert len(read_table(more)) == 6
    assert lost.read_bytes() == before


ENDLESS = """
from datamodules.mazes.render import render_corpus
if __name__ == "__main__":
    render_corpus(root="corpus", size=16, mazes=400, walks_per_maze=1, frames_per_walk=9,
                  kinds={"explore": 1.0}, seed=3, num_workers=1)
"""


@pytest.mark.slow
def test_a_render_that_is_killed_leaves_whole_files_only(tmp_path):
    (tmp_path / "endless.py").write_text(ENDLESS)
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = subprocess.Popen([sys.executable, "endless.py"], cwd=tmp_path, env={**os.environ, **own})
    until = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.json"))) < 6 and started.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    started.send_signal(signal.SIGKILL)
    started.wait()
    root = tmp_path / "corpus"
    done = list((root / "rows").rglob("*.json"))
    assert 2 <= len(done) < 400
    for path in done:
        row = json.loads(path.read_text())
        assert read_frames(root / row["path"]).shape == (9, 16, 16, 3)
        assert len(read_poses(root / row["poses"])) == 9
    settings = {"size": 16, "mazes": 2, "walks_per_maze": 1, "frames_per_walk": 9, "kinds": {"explore": 1.0}}
    table = render_corpus(root=root, seed=3, num_workers=1, **settings)
    assert len(read_table(table)) >= len(done)


@pytest.mark.parametrize(
    "change", [{"size": 128}, {"seed": 4}, {"frames_per_walk": 34}, {"most_cells": 4}, {"kinds": {"explore": 1.0}}]
)
def test_other_settings_in_the_same_root_are_refused(corpus, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        render_corpus(root=corpus.parent, **{**SETTINGS, **change})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"size": 63}, "size is 63"),
        ({"size": 8}, "size is 8"),
        ({"mazes": 0}, "mazes is 0"),
        ({"walks_per_maze": 0}, "walks_per_maze is 0"),
        ({"num_workers": 0}, "num_workers is 0"),
        ({"frames_per_walk": 1}, "frames_per_walk is 1"),
        ({"most_cells": 1}, "most_cells is 1"),
        ({"third_person_share": 1.5}, r"third_person_share is 1\.5"),
        ({"silent_share": -0.1}, r"silent_share is -0\.1"),
        ({"silent_share": float("nan")}, "silent_share is nan"),
        ({"kinds": {"explore": 0.5, "fly": 0.5}}, "kinds names 'fly'"),
        ({"kinds": {"explore": 0.5}}, r"are 0\.5 together"),
        ({"kinds": {"explore": 1.5, "loop": -0.5}}, r"kinds\.explore is 1\.5"),
        ({"kinds": {}}, "are 0 together"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, change, why):
    with pytest.raises(ValueError, match=why):
        render_corpus(root=tmp_path, **{**SETTINGS, **change})
    assert not list(tmp_path.iterdir())


def test_a_size_that_the_game_cannot_render_is_refused(tmp_path):
    maze = mazes(1)[0]
    with pytest.raises(ValueError, match="size is 1300"):
        game_module.Game(
            maze=maze, start=(*centre_of((0, 0)), 0.0), size=1300, colour="red", third_person=False, folder=tmp_path
        )


def test_a_level_that_the_game_ignores_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(game_module, "build_level", lambda **_: pack([("W000", b"")]))
    maze = mazes(1)[0]
    start = (*centre_of((0, 0)), 0.0)
    with pytest.raises(RuntimeError, match=r"maze 0 of seed 0: the game began at x .*, so it does not take the level"):
        game_module.Game(maze=maze, start=start, size=64, colour="red", third_person=False, folder=tmp_path)


BROKEN = """
import logging
from datamodules.mazes import level, walk_files
from datamodules.mazes.render import render_corpus, render_walk
from datamodules.rendering import render_missing

def build(*, maze, **given):
    pieces = level.unpack(level.build_level(maze=maze, **given))
    return level.pack([(name, data[: len(data) // 2] if name == "TEXTMAP" else data) for name, data in pieces])

def render(plan):
    from datamodules.mazes import game
    if plan.maze == 1:
        game.build_level = build
    else:
        game.build_level = level.build_level
    walk_files.render_walk(plan)

if __name__ == "__main__":
    from datamodules.mazes import render as module
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    module.render_walk = render
    render_corpus(root="corpus", size=16, mazes=4, walks_per_maze=1, frames_per_walk=9,
                  kinds={"explore": 1.0}, seed=3, num_workers=2)
"""


@pytest.mark.slow
def test_a_maze_that_the_game_refuses_costs_its_walks_alone(tmp_path):
    # The game ends the process that started it: the other walks are rendered all the same.
    (tmp_path / "broken.py").write_text(BROKEN)
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "broken.py"], cwd=tmp_path, env={**os.environ, **own}, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "Walk 00001-00 was skipped: the game does not take its level" in ended.stderr
    assert ended.stderr.count("was skipped") == 1
    assert [row["maze"] for row in read_table(tmp_path / "corpus" / "table.csv")] == ["00000", "00002", "00003"]


@pytest.mark.slow
def test_silent_walks_have_no_captions(tmp_path):
    settings = {**SETTINGS, "mazes": 1, "frames_per_walk": 2, "size": 16}
    rows = read_table(render_corpus(root=tmp_path, silent_share=1.0, **settings))
    assert [(row["text"], row["short_text"]) for row in rows] == [("", "")] * 2


def test_regions_in_view_are_those_before_the_eye():
    maze = next(maze for maze in mazes() if maze.cells == (2, 2))
    cell, other = maze.links[0]
    place = centre_of(cell)
    angle = float(np.degrees(np.arctan2(other[0] - cell[0], other[1] - cell[1])))
    way = maze.region_at(x=(place[0] + centre_of(other)[0]) / 2, y=(place[1] + centre_of(other)[1]) / 2)
    ahead = Pose(x=place[0], y=place[1], z=0.0, angle=angle, pitch=0.0)
    seen = regions_in_view(maze=maze, pose=ahead, third_person=False)
    assert {maze.region_at(x=place[0], y=place[1]), way} <= set(seen)
    away = regions_in_view(maze=maze, pose=ahead._replace(angle=angle + 180.0), third_person=False)
    assert way not in away
