import csv
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from made_testbed import FRAMES, make_testbed
from omegaconf import OmegaConf

from datamodules.mazes import testbed as maze_testbed
from datamodules.mazes.layout import split_of
from datamodules.mazes.testbed import plan_walks
from longtake.cli import schemas
from longtake.cli import testbed as program
from longtake.cli.composed import check_settings
from longtake.cli.user_errors import sentence
from longtake.testbed.drafting import Walk, draft_questions
from longtake.testbed.folder import open_testbed
from longtake.testbed.poses import Poses, nearest_poses, steps
from longtake.testbed.questions import KINDS

ROOT = Path(__file__).parents[3]
SMALL = ["mazes=2", "frames=33", "lengths=[8,16]", "num_workers=1"]


def composed(name, *changes):
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return compose(f"testbed_{name}", overrides=list(changes))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the game makes a folder where it is started


# Settings


@pytest.mark.parametrize(
    ("name", "schema", "needed"),
    [
        ("make", schemas.MakeTestbedSettings, ["output=a"]),
        ("score", schemas.ScoreTestbedSettings, ["testbed=a", "predictions=b", "output=c"]),
    ],
)
def test_the_schema_has_the_keys_of_conf(name, schema, needed):
    cfg = composed(name, *needed)
    assert set(OmegaConf.to_container(cfg)) == set(schema.__annotations__)
    check_settings(cfg, schema)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("frames=32", "frames=32 must be 8 k + 1, at least 17, such as 33"),
        ("frames=9", "frames=9 must be 8 k + 1, at least 17, such as 17"),
        ("lengths=[6]", "lengths: 6 must be a multiple of 4, at most 16"),
        ("lengths=[20]", "lengths: 20 must be a multiple of 4, at most 16"),
        ("lengths=[8,8]", "has a length twice"),
        ("lengths=[]", "lengths=[] must be"),
        ("size=63", "size is 63; video files need an even number"),
        ("mazes=0", "mazes=0 must be a whole number, at least 1"),
        ("most_cells=1", "most_cells=1 must be a whole number, at least 2"),
    ],
)
def test_a_setting_that_cannot_be_is_told_before_anything_is_rendered(tmp_path, change, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        program.make(composed("make", f"output={tmp_path / 'a'}", *SMALL, change))
    assert not list(tmp_path.rglob("*.mp4"))


def test_scores_do_not_lie_among_the_predictions(folder, tmp_path):
    cfg = composed("score", f"testbed={folder}", f"predictions={tmp_path}", f"output={tmp_path / 'a/b'}")
    with pytest.raises(ValueError, match="whose folders are methods: take another folder"):
        program.score(cfg)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", '{"weights', "[" * 100_000])
def test_answers_of_nobody_known_are_not_added_to(tmp_path, text):
    note = tmp_path / "answers.json"
    note.write_text(text)
    with pytest.raises(ValueError, match=r"answers\.json is broken, so nobody knows whose answers lie there"):
        program._said(note)


@pytest.mark.parametrize(("word", "code"), [("--help", 0), ("", 2), ("mak", 2)])
def test_the_program_says_what_it_can_do(monkeypatch, capsys, word, code):
    monkeypatch.setattr(sys, "argv", ["longtake testbed", *word.split()])
    with pytest.raises(SystemExit) as caught:
        program.main()
    assert caught.value.code == code
    assert "make|answer|score" in capsys.readouterr().err


# Walks and questions


def test_walks_are_in_test_mazes_alone_and_most_mazes_have_every_kind():
    plans = plan_walks(root="nowhere", mazes=12, seed=1000, size=64, frames=321, most_cells=3, patterned=False)
    assert len({plan.maze for plan in plans}) == 12
    assert {split_of(number=plan.maze) for plan in plans} == {"test"}
    counts = {kind: sum(plan.kind == kind for plan in plans) for kind in {plan.kind for plan in plans}}
    assert counts.pop("loop") >= 10
    assert counts == dict.fromkeys(("explore", "backtrack", "return", "leave", "rejoin"), 12)
    assert len({plan.walk_id for plan in plans}) == len(plans)
    assert not any(plan.third_person for plan in plans)


def as_walks(plans):
    """Planned walks as they would be read back, with the region that the marine is in as all that is in view."""
    walks = []
    for plan in plans:
        maze = plan.draw_maze()
        walk = plan.plan(maze=maze)
        region = [maze.region_at(x=x, y=y) for x, y, _ in walk.track.tolist()]
        poses = Poses(walk.track, region, [frozenset([number]) for number in region])
        home = maze.region_at(x=walk.track[0, 0], y=walk.track[0, 1])
        if plan.kind == "rejoin":
            home = next(other.home for other in walks if other.maze == plan.maze_name and other.kind == "leave")
        walks.append(Walk(plan.walk_id, plan.maze_name, plan.kind, walk.turn_frame, home, poses))
    return walks


@pytest.fixture(scope="module")
def drafted():
    plans = plan_walks(root="nowhere", mazes=4, seed=1000, size=64, frames=321, most_cells=3, patterned=False)
    walks = as_walks(plans)
    return {walk.video: walk for walk in walks}, draft_questions(walks, lengths=(40, 160))


def test_every_kind_of_question_is_asked_and_fits_causal_codecs(drafted):
    _, questions = drafted
    assert [question.kind for question in questions] == sorted(
        (question.kind for question in questions), key=list(KINDS).index
    )
    assert {question.kind for question in questions} == set(KINDS)
    for question in questions:
        assert len(question.context) % 4 == 1
        assert len(question.target) % 4 == 0
        assert len(question.target) >= 40
        lengths = {len(question.target), *(len(getattr(question, f"nearest_{n}")) for n in ("frame", "degrees"))}
        assert lengths == {len(question.since_context)}


def test_retrieval_asks_for_the_same_poses_in_reverse(drafted):
    walks, questions = drafted
    for question in questions:
        if question.kind == "retrieval":
            track = walks[question.target.video].poses.track
            seen, asked = (track[span.start : span.end] for span in (question.context, question.target))
            np.testing.assert_array_equal(asked, seen[-2::-1])
            assert max(question.nearest_distance) == max(question.nearest_degrees) == 0
            assert question.since_context == tuple(range(1, len(asked) + 1))


def test_reasoning_and_cut_ask_for_what_was_not_seen_too(drafted):
    _, questions = drafted
    for question in questions:
        if question.kind == "reasoning":
            assert max(steps(question.nearest_distance, question.nearest_degrees)) > 8
        if question.kind == "cut":
            assert question.context.video != question.target.video
            assert question.since_context[0] == question.target.start + 1
            assert min(question.nearest_distance) < 64  # it comes to the room that was seen


def test_loop_and_cut_come_into_the_room_that_was_left(drafted):
    walks, questions = drafted
    for question in questions:
        if question.kind in ("loop", "cut"):
            walk, target = walks[question.target.video], question.target
            assert walk.home in walk.poses.region[target.start : target.end]
            assert walk.home not in walk.poses.region[target.start - 32 : target.start]


def test_another_maze_is_given_in_the_control_and_the_unvisited_part_shows_nothing_of_the_target(drafted):
    walks, questions = drafted
    by_id = {question.id: question for question in questions}
    for question in questions:
        other = by_id[question.other]
        assert (other.task, other.maze == question.maze) == (question.task, False)
        if question.unvisited is not None:
            views = [
                frozenset().union(*walks[span.video].poses.in_view[span.start : span.end])
                for span in (question.unvisited, question.target)
            ]
            assert not views[0] & views[1]
    assert sum(question.unvisited is not None for question in questions) > len(questions) / 2


def test_the_nearest_pose_weighs_way_and_turn_and_takes_the_latest_of_equals():
    given = np.asarray([[0.0, 0, 0], [110, 0, 0], [0, 0, 0], [0, 0, 359]])
    nearest = nearest_poses(np.asarray([[0.0, 0, 0], [100, 0, 0], [0, 0, -2], [55, 0, 180]]), given)
    assert nearest.frame.tolist() == [2, 1, 3, 3]
    assert nearest.distance.tolist() == [0, 10, 0, 55]
    assert nearest.degrees.tolist() == [0, 0, 1, 179]


# Files


@pytest.mark.slow
def test_rendered_files_are_whole_and_the_same_again(tmp_path, monkeypatch, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    program.make(composed("make", f"output={first}", *SMALL))
    testbed = open_testbed(first)
    assert {question.task for question in testbed.questions} >= {f"retrieval-{n}" for n in (8, 16)} | {"return"}
    assert not (first / ".rendered").exists()
    for question in testbed.questions:
        assert testbed.frames(question.target).shape == (len(question.target), 64, 64, 3)
        if question.kind == "retrieval":  # the same poses show the same
            error = testbed.frames(question.target).astype(float) - testbed.nearest(question)
            assert np.sqrt(np.square(error).mean()) < 4
    capsys.readouterr()
    program.make(composed("make", f"output={first}", *SMALL))  # nothing is done again
    assert testbed.info["fingerprint"] in capsys.readouterr().out
    with pytest.raises(ValueError, match="is a test set of other settings, mazes=2"):
        program.make(composed("make", f"output={first}", *SMALL, "seed=2"))
    # A killed run goes on: here one walk is missing.
    whole = maze_testbed.render_walk
    monkeypatch.setattr(maze_testbed, "render_missing", lambda **given: [whole(plan) for plan in given["plans"][1:]])
    with pytest.raises(ValueError, match="walk 00009-00 and 0 more could not be rendered"):
        program.make(composed("make", f"output={second}", *SMALL))
    assert not (second / "testbed.json").exists()
    kept = list(second.rglob("*.mp4"))
    rendered = []
    monkeypatch.setattr(
        maze_testbed,
        "render_missing",
        lambda **given: [whole(plan) or rendered.append(plan) for plan in given["plans"]],
    )
    program.make(composed("make", f"output={second}", *SMALL))
    assert (len(kept), [plan.walk_id for plan in rendered]) == (5, ["00009-00"])
    assert json.loads((second / "testbed.json").read_text()) == json.loads((first / "testbed.json").read_text())


def test_the_folder_is_one_of_videos_for_hugging_face(folder):
    with (folder / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file_name"] for row in rows] == [f"videos/{path.name}" for path in sorted(folder.glob("videos/*"))]
    assert all(row["text"] == "Somebody walks." and (folder / row["poses"]).is_file() for row in rows)
    head = (folder / "README.md").read_text().split("---\n")[1]
    config = OmegaConf.to_container(OmegaConf.create(head))["configs"][0]
    assert config["data_files"] == [{"split": "test", "path": ["videos/*.mp4", "metadata.csv"]}]


def test_every_file_has_its_hash(folder):
    info = json.loads((folder / "testbed.json").read_text())
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"testbed.json"}
    assert set(info["files"]) == files
    for name, digest in info["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    with av.open(str(folder / "videos/00009-00.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES


# A test set that was changed


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


POSES = "poses/00009-00.csv"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        (POSES, "\n3,33.000", "\n3,nan", f"{POSES}, line 5: x, y or angle is NaN"),
        (POSES, "\n3,33.000", "\n3,", f"{POSES}, line 5: a value is missing or is no number"),
        (POSES, "\n3,33.000", "\n4,33.000", f"{POSES}, line 5: frame 4 where 3 comes next"),
        (POSES, "\n3,33.000,0.000,0.000,90.000,0,0;1", "", f"{POSES}, line 5: frame 4 where 3 comes next"),
        (POSES, "\n32,352.000,0.000,0.000,90.000,4,4;5", "", f"{POSES} has poses of 32 frames, its video has 33"),
        (POSES, "angle", "direction", f"{POSES}, line 1: column angle is missing"),
        (POSES, "\n3,33.000", "\n3,33.001", f"{POSES} was changed since the test set was made"),
        ("layouts/00009.json", "9", "8", "layouts/00009.json was changed"),
        ("metadata.csv", "Somebody", "Nobody", "metadata.csv was changed"),
        ("questions.jsonl", '"start": 8', '"start": "8"', "questions.jsonl, line 1: context.start is wrong"),
        ("questions.jsonl", '"end": 17', '"end": 40', "questions.jsonl, line 1: context is of frames 8 to 40 of 33"),
        ("questions.jsonl", "00009-01", "../../a", "questions.jsonl, line 1: context.video is wrong"),
        ("questions.jsonl", '"kind": "retrieval"', '"kind": "a"', "questions.jsonl, line 1: kind 'a' is none of"),
        ("questions.jsonl", "{", "", "questions.jsonl, line 1: the line is wrong"),
        ("testbed.json", '"version": 1', '"version": 2', "is of version 2, this program scores version 1"),
        ("testbed.json", '"poses/', '"/poses/', "testbed.json does not describe a test set"),
        ("testbed.json", "{", "[", "testbed.json does not describe a test set"),
    ],
)
def test_a_changed_test_set_is_one_sentence_with_file_and_line(folder, tmp_path, file, old, new, said):
    copy = shutil.copytree(folder, tmp_path / "copy")
    edit(copy / file, old, new)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        open_testbed(copy)
    assert "\n" not in str(caught.value)


def test_a_changed_video_and_a_missing_file_are_told(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.copyfile(copy / "videos/00009-01.mp4", copy / "videos/00009-00.mp4")
    with pytest.raises(ValueError, match=re.escape("videos/00009-00.mp4 was changed")):
        open_testbed(copy)
    (copy / "layouts/00019.json").unlink()
    with pytest.raises(ValueError, match=re.escape("layouts/00019.json is missing")):
        open_testbed(copy)
    (copy / "testbed.json").unlink()
    with pytest.raises(ValueError, match="holds no whole test set"):
        open_testbed(copy)


def test_the_fingerprint_follows_from_the_truth_and_not_from_the_encoder(source, folder, tmp_path):
    root, rows = source
    other = shutil.copytree(root, tmp_path / "rendered")
    shutil.copyfile(other / rows[0]["path"], other / rows[1]["path"])
    infos = [
        json.loads((made / "testbed.json").read_text()) for made in (folder, make_testbed((other, rows), tmp_path))
    ]
    assert infos[0]["files"] != infos[1]["files"]
    assert infos[0]["fingerprint"] == infos[1]["fingerprint"]


def test_a_full_disk_leaves_no_test_set_that_looks_whole(source, small_disk):
    disk = small_disk(40)
    with pytest.raises(OSError, match="No space left") as caught:
        make_testbed(source, disk / "set")
    assert sentence(caught.value).startswith(f"no room for {disk / 'set'}")
    assert not list(disk.rglob("*.part"))
    with pytest.raises(ValueError, match="holds no whole test set"):
        open_testbed(disk / "set")
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    assert open_testbed(make_testbed(source, disk / "set")).info["mazes"] == 3
