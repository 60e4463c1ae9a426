import csv
import gzip
import json
import logging
import re
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules import rendering as render_module
from datamodules.freedoom.captions import Look, describe_look, name_object, write_caption, write_short_caption
from datamodules.freedoom.level_map import BEARINGS, REACH, Surroundings, load_map
from datamodules.freedoom.levels import LEVELS, TITLES, split_of
from datamodules.freedoom.plans import plan_walk
from datamodules.freedoom.render import COLUMNS, render_corpus
from datamodules.freedoom.walk_files import render_walk
from datamodules.freedoom.walks import Pose, Walker

SETTINGS = {
    "size": 64,
    "levels": ["map04"],
    "walks_per_level": 2,
    "frames_per_walk": 33,
    "seed": 3,
    "num_workers": 1,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return render_corpus(root=tmp_path_factory.mktemp("freedoom"), **SETTINGS)


def read_table(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def read_frames(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def read_poses(path):
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def test_table_videos_and_poses_belong_together(corpus):
    rows = read_table(corpus)
    assert [row["view"] for row in rows].count("third_person") == 1
    for row in rows:
        assert tuple(row) == COLUMNS
        assert (row["level"], row["split"], float(row["fps"])) == ("map04", "train", 8.75)
        frames = read_frames(corpus.parent / row["path"])
        assert frames.shape == (33, 64, 64, 3) == (int(row["num_frames"]), int(row["height"]), int(row["width"]), 3)
        assert frames.std() > 10
        walk = Path(row["path"]).stem
        poses = read_poses(corpus.parent / "poses" / "map04" / f"{walk}.csv.gz")
        assert [int(pose["frame"]) for pose in poses] == list(range(33))
        places = {(float(pose["x"]), float(pose["y"])) for pose in poses}
        assert len(places) > 10


def test_video_is_h264_with_short_groups(corpus):
    path = corpus.parent / read_table(corpus)[0]["path"]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        keys = [index for index, frame in enumerate(container.decode(stream)) if frame.key_frame]
    assert max(np.diff(keys)) <= 16


def test_the_marine_wears_the_colour_of_the_table(corpus):
    # In third person the marine stands in the middle: blue there, and the caption says so.
    row = next(row for row in read_table(corpus) if row["view"] == "third_person")
    frames = read_frames(corpus.parent / row["path"]).astype(np.float64)
    assert row["colour"] == "blue"
    assert "blue" in row["text"]
    middle = frames[:, 30:44, 28:36].mean(axis=(0, 1, 2))
    assert middle[2] > middle[:2].max() + 10


@pytest.mark.slow
def test_a_killed_render_continues_and_repeats_the_same_frames(corpus, monkeypatch):
    rows = read_table(corpus)
    lost, kept = (corpus.parent / row["path"] for row in rows)
    before, untouched = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    assert render_corpus(root=corpus.parent, **SETTINGS) == corpus
    assert lost.read_bytes() == before
    assert kept.stat().st_mtime_ns == untouched
    assert read_table(corpus) == rows
    # Nothing is missing now, so nothing may be rendered.
    monkeypatch.setattr(render_module, "ProcessPoolExecutor", None)
    render_corpus(root=corpus.parent, **SETTINGS)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_file_in_any_memory(tmp_path, corpus, monkeypatch):
    # The encoder must not depend on what lay in memory before, nor on the process.
    monkeypatch.chdir(tmp_path)
    plan = plan_walk(
        root=str(tmp_path),
        level="map04",
        number=1,
        seed=3,
        size=64,
        frames=33,
        tics_per_frame=4,
        third_person_share=0.5,
        monsters_share=0.0,
    )
    expected = (corpus.parent / plan.video).read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(3):
        scraps = [np.full(int(rng.integers(1_000, 300_000)), int(rng.integers(255)), np.uint8) for _ in range(20)]
        del scraps[::2]
        render_walk(plan)
        assert (tmp_path / plan.video).read_bytes() == expected
        assert (tmp_path / plan.poses).read_bytes() == (corpus.parent / plan.poses).read_bytes()


def test_no_unfinished_file_is_left(corpus):
    assert not list(corpus.parent.rglob("*.part*"))


@pytest.mark.parametrize("change", [{"size": 128}, {"seed": 4}, {"frames_per_walk": 34}, {"tics_per_frame": 2}])
def test_other_settings_in_the_same_root_are_refused(corpus, change):
    with pytest.raises(ValueError, match=next(iter(change))):
        render_corpus(root=corpus.parent, **{**SETTINGS, **change})


@pytest.mark.parametrize(
    "change",
    [{"size": 63}, {"levels": ["E5M1"]}, {"walks_per_level": 0}, {"num_workers": 0}, {"third_person_share": 1.5}],
)
def test_impossible_settings_are_refused(tmp_path, change):
    with pytest.raises(ValueError, match=r"63|E5M1|0|1\.5"):
        render_corpus(root=tmp_path, **{**SETTINGS, **change})
    assert not list(tmp_path.iterdir())


def test_a_failing_walk_is_skipped_unless_all_fail(tmp_path, monkeypatch, caplog):
    class Future:
        def __init__(self, error):
            self.error = error

        def exception(self):
            return self.error

    class Pool:
        def __init__(self, **_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def submit(self, _, plan):
            return Future(RuntimeError("lost") if plan.number in failing else None)

    monkeypatch.setattr(render_module, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(render_module, "as_completed", list)
    failing = {1}
    with caplog.at_level(logging.WARNING):
        render_corpus(root=tmp_path, **SETTINGS)
    assert "map04-0001 was skipped" in caplog.text
    failing = {0, 1}
    with pytest.raises(RuntimeError, match="not one of 2"):
        render_corpus(root=tmp_path, **SETTINGS)


@pytest.mark.slow
def test_larger_pictures_show_the_same_walk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = {"level": "map04", "number": 1, "seed": 3, "frames": 9, "tics_per_frame": 4}
    shares = {"third_person_share": 0.5, "monsters_share": 0.0}
    poses, frames = [], []
    for size in (64, 128):
        plan = plan_walk(root=str(tmp_path / str(size)), size=size, **common, **shares)
        render_walk(plan)
        poses.append([(p["x"], p["y"], p["angle"]) for p in read_poses(tmp_path / str(size) / plan.poses)])
        frames.append(read_frames(tmp_path / str(size) / plan.video).astype(np.float64))
    assert poses[0] == poses[1]
    halved = frames[1].reshape(9, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - frames[0]).mean() < 12


def test_splits_hold_all_levels_once():
    counts = Counter(split_of(level=level) for level in LEVELS)
    assert counts == {"train": 54, "validation": 6, "test": 8}
    assert len(set(LEVELS)) == 68 == len(set(TITLES.values()))
    held_out = {level[:2] for level in LEVELS if split_of(level=level) == "test"}
    assert held_out == {"E1", "E2", "E3", "E4", "ma"}
    with pytest.raises(ValueError, match="MAP01"):
        split_of(level="MAP01")


def test_views_and_colours_are_spread_evenly():
    common = {"root": "", "seed": 0, "size": 64, "frames": 9, "tics_per_frame": 4}
    shares = {"third_person_share": 0.5, "monsters_share": 0.25}
    plans = [plan_walk(level=level, number=number, **common, **shares) for level in LEVELS for number in range(8)]
    assert sum(plan.third_person for plan in plans) == len(plans) // 2
    assert sum(plan.monsters for plan in plans) == len(plans) // 4
    colours = Counter(plan.colour for plan in plans if plan.third_person)
    assert set(colours) == {"green", "grey", "red", "blue"}
    assert min(colours.values()) > 0.2 * len(plans) / 2
    # Each level is seen behind marines of every colour, so colour does not follow from the level.
    assert {plan.colour for plan in plans if plan.level == "E1M1" and plan.third_person} == set(colours)


def test_captions_vary_and_name_what_matters():
    look = Look(light="dim", hue="brown")
    common = {"level": "E3M2", "look": look, "colour": "red", "legs": {"patrol out": 9, "patrol back": 9, "stand": 2}}
    objects = ["RedTorch", "DoomPlayer", "ExplosiveBarrel"]
    third = {
        write_caption(rng=np.random.default_rng(i), third_person=True, objects=objects, **common) for i in range(40)
    }
    assert len(third) > 15
    for text in third:
        assert "red" in text
        assert "marine" in text
        assert "Geothermal Tunnels" in text
        assert "barrels" in text
        assert text.endswith(".")
    first = write_caption(rng=np.random.default_rng(0), third_person=False, objects=[], **common)
    assert "marine" not in first
    assert name_object("TallGreenColumn") == "a tall green column"


def test_short_captions_leave_out_colours_things_and_half_of_the_places():
    common = {"level": "E3M2", "legs": {"patrol out": 9, "patrol back": 9, "stand": 2}}
    for third_person in (True, False):
        texts = [
            write_short_caption(rng=np.random.default_rng(i), third_person=third_person, **common) for i in range(80)
        ]
        assert len(set(texts)) > 12
        assert 20 < sum("Geothermal Tunnels" in text for text in texts) < 60
        for text in texts:
            assert ("marine" in text) == third_person
            assert not re.search(r"grey|blue|green|red |brown|dim|dark|bright", text)
            assert text.endswith(".")


def test_the_look_follows_the_pixels():
    greens = np.zeros(360)
    greens[120] = 0.5
    assert describe_look(colour_mean=np.full(3, 10.0), saturated=greens) == Look(light="dark", hue="green")
    assert describe_look(colour_mean=np.full(3, 200.0), saturated=np.zeros(360)) == Look(light="bright", hue="grey")


def around(free):
    return Surroundings(free=free, beside=np.full(len(BEARINGS), 96.0), door_ahead=False)


def test_a_walker_heads_for_open_space_and_turns_smoothly():
    walker = Walker(rng=np.random.default_rng(0), tics_per_frame=4)
    free = np.where(np.abs(BEARINGS - 60.0) < 20.0, REACH, 60.0)  # the only way out is to the left
    turns = [
        walker.step(around=around(free), pose=Pose(x=0.0, y=0.0, z=0.0, angle=0.0, pitch=0.0)).turn for _ in range(5)
    ]
    assert turns[-1] > 1.0
    assert max(np.abs(np.diff([0.0, *turns]))) <= 1.2 + 1e-9


def test_a_patrol_comes_back_to_where_it_began():
    # An empty plain, where a marine goes exactly as told.
    walker = Walker(rng=np.random.default_rng(0), tics_per_frame=4)
    x = y = angle = 0.0
    legs, places = [], []
    for _ in range(3000):
        move = walker.step(
            around=around(np.full(len(BEARINGS), REACH)), pose=Pose(x=x, y=y, z=0.0, angle=angle, pitch=0.0)
        )
        legs.append(walker.leg)
        places.append((x, y))
        angle += 4 * move.turn
        x += 1.3 * move.forward * np.cos(np.radians(angle))
        y += 1.3 * move.forward * np.sin(np.radians(angle))
    assert set(legs) == {"wander", "patrol out", "patrol back", "turn", "stand"}
    starts = [i for i in range(1, 3000) if legs[i] == "patrol out" != legs[i - 1]]
    returns = [i - 1 for i in range(1, 3000) if legs[i] != "patrol back" == legs[i - 1]]
    for start, end in zip(starts, returns, strict=False):
        assert np.hypot(*np.subtract(places[start], places[end])) < 120


def test_the_plan_knows_walls_and_drops():
    plan = load_map(level="map04")
    here = plan.around(x=640.0, y=640.0, angle=270.0, may_drop=False)  # where the level begins
    assert here.free.shape == here.beside.shape == BEARINGS.shape
    assert here.free.max() > 400 > here.free.min()
    dropping = plan.around(x=640.0, y=640.0, angle=270.0, may_drop=True)
    assert (dropping.free >= here.free - 1e-9).all()
    turned = plan.around(x=640.0, y=640.0, angle=275.0, may_drop=False)  # one bearing on
    assert np.allclose(np.roll(here.free, -1), turned.free)


def test_settings_are_written_beside_the_table(corpus):
    found = json.loads((corpus.parent / "settings.json").read_text())
    assert (found["size"], found["seed"], found["tics_per_frame"]) == (64, 3, 4)


def test_rendering_processes_share_no_folder(tmp_path, monkeypatch):
    # Two games that make their folder in one place at once end one process, and with it the pool.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(render_module.tempfile, "tempdir", None)
    places = []
    for _ in range(2):
        render_module.enter_folder(str(tmp_path))
        places.append(Path.cwd())
    assert places[0] != places[1]
    assert {place.parent for place in places} == {tmp_path}
