import csv
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from datamodules.mazes import game as game_module
from datamodules.mazes.captions import write_caption, write_short_caption
from datamodules.mazes.layout import BLOCK, centre_of, draw_maze, split_of
from datamodules.mazes.level import build_level, pack, unpack
from datamodules.mazes.looks import FLOORS, HUES, SHAPES, SIGNS, WALLS, ceiling, floor, patterns_of, thing, wall
from datamodules.mazes.plans import plan_of
from datamodules.mazes.render import COLUMNS, render_corpus
from datamodules.mazes.walk_files import COLUMNS as SIDE_COLUMNS
from datamodules.mazes.walk_files import regions_in_view, render_walk
from datamodules.mazes.walks import KINDS, plan_walk
from datamodules.mazes.ways import MOST_TURN, MOST_WAY, find_loop, shortest_way
from datamodules.recording import Pose

ROOT = Path(__file__).parents[2]
ALL_KINDS = {"explore": 0.4, "backtrack": 0.2, "return": 0.1, "loop": 0.2, "cut": 0.1}
SETTINGS = {
    "size": 64,
    "mazes": 2,
    "walks_per_maze": 2,
    "frames_per_walk": 33,
    "kinds": ALL_KINDS,
    "seed": 3,
    "num_workers": 1,
}
PLAN = {
    "seed": 3,
    "most_cells": 3,
    "patterned": True,
    "size": 64,
    "frames": 33,
    "third_person_share": 0.0,
    "silent_share": 0.0,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return render_corpus(root=tmp_path_factory.mktemp("mazes"), **SETTINGS)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the game makes a folder where it is started


def read_table(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def read_frames(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.int64)


def read_poses(path):
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def mazes(count=40, most_cells=3, patterned=True):
    return [draw_maze(seed=0, number=number, most_cells=most_cells, patterned=patterned) for number in range(count)]


# Layouts


def test_a_seed_and_a_number_give_a_maze_and_another_seed_another():
    first, again, other = (
        draw_maze(seed=seed, number=7, most_cells=4, patterned=False).describe() for seed in (1, 1, 2)
    )
    assert first == again
    assert first["looks"] != other["looks"]
    assert json.loads(json.dumps(first)) == first


@pytest.mark.parametrize("most_cells", [2, 3, 5])
def test_every_block_of_a_maze_can_be_reached_and_there_is_a_loop(most_cells):
    for maze in mazes(12, most_cells):
        free = {(int(row), int(column)) for row, column in np.argwhere(maze.region >= 0)}
        todo, reached = [next(iter(free))], set()
        while todo:
            row, column = todo.pop()
            if (row, column) in free - reached:
                reached.add((row, column))
                todo += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        assert reached == free
        height, width = maze.region.shape
        assert not any(row in (0, height - 1) or column in (0, width - 1) for row, column in free)
        assert any(find_loop(maze=maze, home=cell) for cell in np.ndindex(*maze.cells))
        assert set(np.unique(maze.region)) - {-1} <= set(range(len(maze.looks)))
        assert 2 <= min(maze.cells) <= max(maze.cells) <= most_cells


def test_rooms_of_a_maze_differ_and_their_things_stand_off_the_ways():
    for maze in mazes():
        walls = [(look.wall, look.wall_pattern) for look in maze.looks]
        assert max(Counter(walls).values()) == 1
        names = [thing.name for thing in maze.things]
        assert len(set(names)) == len(names) >= len(maze.rooms)
        ways = [centre_of(cell) for cell in np.ndindex(*maze.cells)]
        for thing_ in maze.things:
            assert maze.region_at(x=thing_.x, y=thing_.y) in maze.rooms.values()
            assert min(max(abs(thing_.x - x), abs(thing_.y - y)) for x, y in ways) > 0.8 * BLOCK
        assert {maze.region[sign.block] for sign in maze.signs} == set(maze.rooms.values())


@pytest.mark.parametrize("patterned", [True, False])
def test_looks_of_mazes_are_drawn_evenly(patterned):
    looks = [look for maze in mazes(60, patterned=patterned) for look in maze.looks]
    assert set(Counter(look.wall for look in looks)) == set(HUES)
    assert {look.wall_pattern for look in looks} == set(patterns_of("walls", patterned=patterned))
    assert {look.floor_pattern for look in looks} == set(patterns_of("floors", patterned=patterned))
    # Which floor and ceiling go with a wall cannot be told from the wall.
    floors = Counter(look.floor for look in looks if look.wall == "red")
    assert len(floors) > 10


def test_mazes_of_both_kinds_have_fine_patterns_or_coarse_ones():
    fine, coarse = (set(patterns_of("walls", patterned=patterned)) for patterned in (True, False))
    assert not fine & coarse - {"panelled"}
    assert fine | coarse == set(WALLS)
    for maze in mazes(20, patterned=False):
        walls = [(look.wall, look.wall_pattern) for look in maze.looks]
        assert len(set(walls)) == len(walls)
        assert len({look.ceiling for look in maze.looks}) == 1


def test_splits_follow_from_the_number_alone():
    splits = {name: {n for n in range(200) if split_of(number=n) == name} for name in ("train", "validation", "test")}
    assert {name: len(numbers) for name, numbers in splits.items()} == {"train": 160, "validation": 20, "test": 20}
    assert {split_of(number=n) for n in range(5)} == {"train", "validation"}


def test_a_maze_of_one_cell_is_refused():
    with pytest.raises(ValueError, match="most_cells is 1"):
        draw_maze(seed=0, number=0, most_cells=1, patterned=False)


# Walks


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [2, 9, 60, 317])
def test_walks_stay_off_walls_and_move_slowly(kind, frames):
    for number, maze in enumerate(mazes(12)):
        walk = plan_walk(maze=maze, kind=kind, frames=frames, rng=np.random.default_rng(number))
        assert walk.track.shape == (frames, 3)
        assert len(walk.legs) == frames
        steps = np.diff(walk.track, axis=0)
        assert np.hypot(steps[:, 0], steps[:, 1]).max() <= MOST_WAY + 1e-6
        assert np.abs(steps[:, 2]).max() <= MOST_TURN + 1e-6
        # At once the marine reaches no speed that the game cannot give.
        assert np.abs(np.diff(np.hypot(steps[:, 0], steps[:, 1]), prepend=0.0)).max(initial=0.0) < 4.0 or frames < 9
        for x, y, _ in walk.track:
            around = [maze.region_at(x=x + dx, y=y + dy) for dx in (-17, 17) for dy in (-17, 17)]
            assert min(around) >= 0


def test_a_backtrack_mirrors_its_poses():
    for number, maze in enumerate(mazes(8)):
        for frames in (60, 61):
            walk = plan_walk(maze=maze, kind="backtrack", frames=frames, rng=np.random.default_rng(number))
            turn = walk.turn_frame
            assert turn == frames // 2
            for k in range(frames - turn):
                assert np.array_equal(walk.track[turn + k], walk.track[turn - k])
            assert set(walk.legs[turn + 1 :]) == {"back"}
            assert "back" not in walk.legs[: turn + 1]


def test_a_return_comes_the_same_way_and_looks_the_other_way():
    for number, maze in enumerate(mazes(8)):
        walk = plan_walk(maze=maze, kind="return", frames=160, rng=np.random.default_rng(number))
        back = walk.legs.index("back")
        assert np.hypot(*(walk.track[back - 1] - walk.track[walk.turn_frame])[:2]) < 1e-6
        for k in range(min(walk.turn_frame, 160 - back)):
            there, here = walk.track[walk.turn_frame - 1 - k], walk.track[back + k]
            assert np.abs(there[:2] - here[:2]).max() < 1e-6
            assert abs(abs(there[2] - here[2]) - 180.0) < 1e-6
        assert back + walk.turn_frame > 120  # nearly all of the way is walked twice


def test_a_loop_comes_home_by_another_way():
    seen = 0
    for number, maze in enumerate(mazes(12)):
        walk = plan_walk(maze=maze, kind="loop", frames=600, rng=np.random.default_rng(number))
        home = centre_of(walk.home)
        round_ = [place for place, leg in zip(walk.track, walk.legs, strict=True) if leg == "round"]
        off = [max(abs(x - home[0]), abs(y - home[1])) for x, y, _ in round_]
        left = next(index for index, far in enumerate(off) if far > 2.0 * BLOCK)
        back = len(off) - next(index for index, far in enumerate(off[::-1]) if far > 2.0 * BLOCK)
        gone, come = (round_[index][:2] - home for index in (left, back - 1))
        assert off[-1] <= BLOCK
        assert np.hypot(*(gone - come)) > BLOCK  # by another door than he left
        seen += walk.legs.count("again") > 0
    assert seen > 6


def test_both_walks_of_a_cut_are_about_one_room():
    kinds = {"cut": 1.0}
    for number in range(12):
        common = {**PLAN, "frames": 317, "third_person_share": 0.5}
        leave, rejoin = (plan_of(root="", maze=number, number=n, kinds=kinds, **common) for n in (2, 3))
        assert (leave.kind, rejoin.kind) == ("leave", "rejoin")
        assert (leave.third_person, leave.colour) == (rejoin.third_person, rejoin.colour)
        maze = leave.draw_maze()
        first, second = leave.plan(maze=maze), rejoin.plan(maze=maze)
        assert first.home == second.home
        home = maze.rooms[first.home]
        regions = [[maze.region_at(x=x, y=y) for x, y, _ in walk.track] for walk in (first, second)]
        assert regions[0][0] == home != regions[1][0]
        looking = [region for region, leg in zip(regions[1], second.legs, strict=True) if leg == "look"]
        assert looking[0] == home
        angles = [angle for (*_, angle), leg in zip(first.track, first.legs, strict=True) if leg == "look"]
        assert max(angles) - min(angles) > 300.0


def test_an_unknown_kind_of_walk_is_refused():
    with pytest.raises(ValueError, match=r"'fly'; use one of explore, backtrack, return"):
        plan_walk(maze=mazes(1)[0], kind="fly", frames=9, rng=np.random.default_rng(0))


def test_ways_are_the_shortest():
    for maze in mazes(8):
        cells = list(np.ndindex(*maze.cells))
        for cell in cells:
            way = shortest_way(maze=maze, first=cells[0], last=cell)
            assert (way[0], way[-1]) == (cells[0], cell)
            assert all(b in maze.neighbours(a) for a, b in pairwise(way))
        assert shortest_way(maze=maze, first=cells[0], last=cells[0]) == [cells[0]]


def test_kinds_views_and_silence_are_shared_out():
    shares = {**PLAN, "third_person_share": 0.5, "silent_share": 0.25}
    plans = [plan_of(root="", maze=m, number=n, kinds=ALL_KINDS, **shares) for m in range(400) for n in range(2)]
    kinds = Counter(plan.kind for plan in plans)
    assert kinds["leave"] == kinds["rejoin"]
    for kind, share in ALL_KINDS.items():
        count = kinds[kind] if kind != "cut" else kinds["leave"] + kinds["rejoin"]
        assert abs(count / len(plans) - share) < 0.05
    assert sum(plan.third_person for plan in plans) == 400
    assert sum(plan.silent for plan in plans) == 200
    assert min(Counter(plan.colour for plan in plans if plan.third_person).values()) > 70


# Levels


def test_a_level_is_a_game_file_whose_pieces_belong_together():
    for maze in mazes(6):
        pieces = dict(unpack(build_level(maze=maze, start=centre_of((0, 0)), angle=90.0)))
        text = pieces["TEXTMAP"].decode()
        counts = {kind: len(re.findall(rf"^{kind}{{", text, re.MULTILINE)) for kind in ("vertex", "sidedef", "sector")}
        for name, kind in (("v1", "vertex"), ("v2", "vertex"), ("sidefront", "sidedef"), ("sideback", "sidedef")):
            assert max(int(number) for number in re.findall(rf"{name}=(\d+);", text)) < counts[kind]
        assert counts["sector"] == len(maze.looks)
        assert {int(number) for number in re.findall(r"sector=(\d+);", text)} <= set(range(len(maze.looks)))
        used = set(re.findall(r'texture(?:middle|top|floor|ceiling)="(\w+)"', text))
        assert used <= set(pieces)
        for name in used:
            height = 256 if name.startswith("S") else 128  # a wall with a picture is bare above it
            assert cv2.imdecode(np.frombuffer(pieces[name], np.uint8), cv2.IMREAD_COLOR).shape == (height, 128, 3)
        assert text.count("type=1;") == 1
        assert len(re.findall(r"type=2\d{4};", text)) == len(maze.things)
        assert len(pieces["PLAYPAL"]) == 14 * 768


def test_a_texture_name_that_stands_twice_or_is_long_is_refused():
    with pytest.raises(ValueError, match="the name W000 stands 2 times"):
        pack([("W000", b"a"), ("W001", b""), ("W000", b"b")])
    with pytest.raises(ValueError, match="WALL00000 has 9 letters"):
        pack([("WALL00000", b"")])


@pytest.mark.parametrize(("data", "why"), [(b"", "neither"), (b"PNG" * 8, "neither"), (None, "truncated")])
def test_what_is_no_game_file_is_refused(data, why):
    whole = pack([("W000", b"abc")])
    with pytest.raises(ValueError, match=why):
        unpack(whole[:-1] if data is None else data)
    assert unpack(whole) == [("W000", b"abc")]


def test_every_look_has_patterns():
    for name in WALLS:
        drawn = wall(hue="red", accent="blue", pattern=name, light=1.0)
        lights = 1 if name == "plain" else 2
        assert len(np.unique(drawn.reshape(-1, 3), axis=0)) == lights + 1  # and the skirting
        bare = wall(hue="red", accent="red", pattern=name, light=1.0)
        assert len(np.unique(bare.reshape(-1, 3), axis=0)) == lights
    for name in FLOORS:
        lights = 1 if name == "plain" else 2
        assert len(np.unique(floor(hue="red", pattern=name).reshape(-1, 3), axis=0)) == lights
    assert len(np.unique(ceiling(hue="red", pattern="lit").reshape(-1, 3), axis=0)) == 2
    for name in SHAPES:
        drawn = thing(shape=name, hue="lime")
        assert 0.2 < (drawn[..., 3] > 0).mean() <= 1.0
    assert len({build_sign(name) for name in SIGNS}) == len(SIGNS)


def build_sign(shape):
    from datamodules.mazes.looks import sign

    return sign(
        ground=wall(hue="red", accent="blue", pattern="brick", light=1.0), shape=shape, hue="green", light=1.0
    ).tobytes()


# Captions


def test_full_captions_tell_and_short_ones_are_silent():
    maze = mazes(1)[0]
    room = next(iter(maze.rooms.values()))
    common = {"kind": "loop", "third_person": True}
    texts = {
        write_caption(
            rng=np.random.default_rng(i), maze=maze, colour="blue", regions=[room], things=["OrangeBall"], **common
        )
        for i in range(40)
    }
    assert len(texts) > 15
    for text in texts:
        assert "an orange ball" in text
        assert maze.looks[room].wall in text
        assert "blue" in text
        assert text.endswith(".")
    for kind in KINDS:
        for third_person in (True, False):
            short = write_short_caption(rng=np.random.default_rng(1), kind=kind, third_person=third_person)
            assert not re.search("|".join((*HUES, *WALLS, *SHAPES)), short)
            assert ("marine" in short) == third_person


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


def test_larger_pictures_show_the_same_walk(tmp_path):
    frames = []
    for size in (62, 124):
        root = str(tmp_path / str(size))
        plan = plan_of(root=root, maze=1, number=0, kinds={"explore": 1.0}, **{**PLAN, "size": size, "frames": 5})
        render_walk(plan)
        frames.append(read_frames(Path(root) / plan.video))
    halved = frames[1].reshape(5, 62, 2, 62, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - frames[0]).mean() < 8


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
