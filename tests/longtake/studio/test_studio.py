"""What the studio does without a page: cards and files, plans and problems, work that goes on by itself."""

import os
import re
import socket
import threading

import forked
import pytest
import yaml
from composing import ROOT
from fake_weights import LIMITS, FakeWeights

from longtake.storyboard.given import VideoProbe
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.studio import views
from longtake.studio.cards import CARD_FIELDS, Board, Card, GivenCard, board_of, card_at
from longtake.studio.folder import Folder
from longtake.studio.job import Job, Progress
from longtake.studio.serving import check_address
from longtake.studio.session import Problem, Score, Studio, first_card
from longtake.studio.weights import PlannedTake

SECONDS = 20


@pytest.fixture
def studio(tmp_path):
    """Three cards in one shot, over weights that make grey segments; weights called "nothing" are not there."""

    def open_weights(name, output):
        if name == "nothing":
            raise ValueError("weights=nothing: there is no such folder")
        return FakeWeights(output)

    folder = Folder(tmp_path / "out")
    with folder.opened():
        made = Studio(
            folder,
            open_weights=open_weights,
            score=lambda videos, output: [Score("sharpness", 1.0, None)],
            first=first_card("a hall", 3),
        )
        made.load_weights("fake")
        made.open_cards()
        made.change(Board(tuple(Card(name, seed=place) for place, name in enumerate("abc"))))
        yield made


def finished(studio):
    studio.make()
    studio.job.wait(SECONDS)
    return studio.job.progress


@pytest.mark.parametrize("name", ["backwards", "between", "cut_and_return", "forward"])
def test_cards_of_a_file_make_the_same_segments_as_the_file(name, tmp_path):
    file, copy = ROOT / "storyboards" / f"{name}.yaml", tmp_path / "storyboard.yaml"
    board = board_of(read_storyboard(file, LIMITS), tmp_path)
    copy.write_text(board.text(), encoding="utf-8")
    probe = VideoProbe(8.75)
    before, after = (plan(read_storyboard(path, LIMITS), LIMITS, probe) for path in (file, copy))
    assert [(step.name, step.key) for step in after.steps] == [(step.name, step.key) for step in before.steps]
    assert after.timeline == before.timeline
    assert board_of(read_storyboard(copy, LIMITS), tmp_path) == board


def test_what_stands_in_the_fields_becomes_the_card():
    board = Board((Card("a", latents=4), Card("b")), (GivenCard("walk.mp4"),))
    said = dict.fromkeys(CARD_FIELDS, "")
    first = {**said, "name": "a", "seed": "7", "memory": "all"}
    second = {**said, "name": "b", "num_frames": " 40 ", "compression_ratio": "8.5", "memory": "a, c", "gap": "4"}
    found = board.with_fields(["last", "a cave", "16", *first.values(), *second.values()])
    assert found.videos == (GivenCard("walk.mp4", "last", "a cave", 16),)
    assert found.cards == (
        Card("a", latents=4, seed=7),
        Card("b", num_frames=40, compression_ratio=8.5, memory="a, c", gap=4),
    )
    assert yaml.safe_load(found.text())["segments"][1]["memory"] == ["a", "c"]
    with pytest.raises(ValueError, match="another window"):
        board.with_fields([*first.values()])


def test_a_wrong_line_is_a_cards():
    board = Board((Card("a", prompt="x " * 200), Card("b")), (GivenCard("walk.mp4", prompt="y"),))
    lines = board.text().splitlines()
    at = {
        name: lines.index(f"- {key}") + 1 for name, key in (("a", "name: a"), ("b", "name: b"), ("v", "path: walk.mp4"))
    }
    assert card_at(board.text(), at["a"]) == card_at(board.text(), at["b"] - 1) == ("segments", 0)
    assert card_at(board.text(), len(lines)) == ("segments", 1)
    assert card_at(board.text(), at["v"]) == ("video", 0)
    assert card_at("segment_frames: 3\nsegments: []\n", 1) is None


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        ({"num_frames": 41}, 1, "num_frames=41 breaks the frame rule"),
        ({"num_frames": "long"}, 1, "num_frames=long must be a whole number"),
        ({"name": "a"}, 1, "two segments are called a"),
        ({"name": ""}, 1, "is not a name"),
        ({"after": "z"}, 1, "b needs z, which is not there"),
        ({"after": "none"}, 1, "not joined to the rest"),
        ({"direction": "interpolate"}, 1, "has not both ends"),
        ({"memory": "c"}, 1, "a cycle"),
        ({"seed": -1}, 1, "seed=-1 must be a whole number"),
        ({"gap": 8}, 1, "nothing fills the gap"),
    ],
)
def test_a_contradiction_is_told_at_its_card(studio, change, place, words):
    studio.change(studio.board.changed(1, **change))
    found = studio.plan()
    assert isinstance(found, Problem)
    assert words in found.sentence
    assert (found.kind, found.place) == ("segments", place)
    assert [bool(alert) for alert in views.alerts(studio.board, found)] == [number == place for number in range(3)]
    with pytest.raises(ValueError, match=re.escape(found.sentence)):
        studio.make()


def test_cards_are_on_the_disk_before_anything_else_and_come_back(studio):
    studio.change(studio.board.added().moved(0, 1).removed(2))
    assert [card.name for card in studio.board.cards] == ["b", "a", "part_4"]
    again = Studio(
        studio.folder, open_weights=lambda name, output: FakeWeights(output), score=list, first=first_card(None, 0)
    )
    again.load_weights("fake")
    again.open_cards()
    assert again.board == studio.board


def test_a_re_roll_says_whom_it_touches(studio):
    assert finished(studio).state == "done"
    said = studio.reroll(1)
    found = studio.plan()
    assert isinstance(found, PlannedTake)
    assert [segment.name for segment in found.to_make] == ["b", "c"]
    assert "so is what remembers it: c" in said
    assert "Not touched: a" in said
    assert studio.board.cards[1].seed != 1


def test_stopping_loses_no_finished_segment(studio):
    reached, go_on = threading.Event(), threading.Event()
    steps = []

    def before_step():
        steps.append(1)
        if len(steps) == 4:
            reached.set()
            assert go_on.wait(SECONDS)

    studio.weights.before_step = before_step
    studio.make()
    assert reached.wait(SECONDS)
    assert studio.job.progress.finished == ("a",)
    with pytest.raises(ValueError, match="being made"):
        studio.make()
    with pytest.raises(ValueError, match="being made"):
        studio.load_weights("other")
    studio.job.stop()
    go_on.set()
    studio.job.wait(SECONDS)
    assert studio.job.progress.state == "stopped"
    assert [segment.name for segment in studio.plan().to_make] == ["b", "c"]
    assert finished(studio).state == "done"
    assert len(steps) == 4 + 4


def test_what_fails_is_a_sentence_and_the_next_take_is_made(studio):
    studio.weights.before_step = lambda: 1 / 0
    found = finished(studio)
    assert found.state == "failed"
    assert "ZeroDivisionError" in found.message
    studio.weights.before_step = lambda: None
    assert finished(studio).state == "done"


def test_finished_takes_are_kept_with_their_storyboards(studio):
    finished(studio)
    finished(studio)
    assert [take.name for take in studio.folder.takes()] == ["001"]
    before = studio.folder.storyboard.read_text()
    while len(studio.folder.takes()) < 2:  # two grey videos may be the same
        studio.reroll(2)
        finished(studio)
    newest, oldest = studio.folder.takes()
    assert (newest.name, oldest.name) == ("002", "001")
    assert (oldest.folder / "storyboard.yaml").read_text() == before
    assert oldest.prompt == "a hall"
    assert "take 001 · fake, 5 frames" in oldest.title


def test_a_take_keeps_the_storyboard_that_it_was_begun_with(studio):
    reached, go_on = threading.Event(), threading.Event()
    before = studio.folder.storyboard.read_text()
    studio.weights.before_step = lambda: (reached.set(), go_on.wait(SECONDS))
    studio.make()
    assert reached.wait(SECONDS)
    studio.change(studio.board.changed(0, prompt="another hall"))
    go_on.set()
    studio.job.wait(SECONDS)
    assert (studio.folder.takes()[0].folder / "storyboard.yaml").read_text() == before


def test_a_video_is_copied_and_continued(studio):
    studio.continue_from(ROOT / "storyboards" / "walk.mp4")
    (video,) = studio.board.videos
    assert (studio.folder.root / video.path).read_bytes() == (ROOT / "storyboards" / "walk.mp4").read_bytes()
    found = studio.plan()
    assert found.timeline == ("first", "a", "b", "c")
    assert found.segments[1].task == "predict"
    studio.remove_video(0)
    assert studio.plan().timeline == ("a", "b", "c")
    with pytest.raises(ValueError, match="is no file"):
        studio.continue_from(ROOT / "nowhere.mp4")
    studio.change(Board(studio.board.cards, (GivenCard("nowhere.mp4"),)))
    assert studio.plan().kind == "video"


def test_weights_that_fail_leave_those_that_are_loaded(studio):
    before = studio.weights
    with pytest.raises(ValueError, match="no such folder"):
        studio.load_weights("nothing")
    assert studio.weights is before
    with pytest.raises(ValueError, match="no weights are named"):
        studio.load_weights(" ")


@pytest.mark.slow
def test_two_studios_do_not_share_a_folder(studio):
    code = (
        "import sys; from pathlib import Path; from longtake.studio.folder import Folder\n"
        "try:\n    with Folder(Path(sys.argv[1])).opened(): print('open')\n"
        "except ValueError as error: print(error)"
    )
    before = studio.folder.storyboard.read_text()
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = forked.run(["-c", code, studio.folder.root], cwd=ROOT, env=own)
    assert asked.returncode == 0, asked.stderr
    assert "is in use by another run that is still going: use the page of that studio" in asked.stdout
    assert studio.folder.storyboard.read_text() == before


def test_a_port_that_is_taken_is_named(caplog):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"port={port} is in use"):
            check_address("127.0.0.1", port)
    assert check_address("127.0.0.1", port) == port
    assert not caplog.records
    with pytest.raises(ValueError, match="no address of this machine"):
        check_address("203.0.113.7", None)
    check_address("0.0.0.0", None)
    assert "everybody who reaches this machine" in caplog.text


def test_progress_is_told():
    job = Job()
    assert views.bar(job.progress) == ""
    running = Progress("running", steps=2, total=8, seconds=10.0)
    assert "step 2 of 8, 10 s so far, about 30 s left" in views.bar(running)
    assert "width:25.0%" in views.bar(running)
    assert 'role="alert"' in views.bar(Progress("failed", message="a < b"))
    assert "a &lt; b" in views.bar(Progress("failed", message="a < b"))


def test_the_page_shows_texts_as_texts(studio):
    studio.change(studio.board.changed(0, name="<script>a"))
    shown = views.strip(studio.plan(), {}, Progress()) + views.plan_table(studio.plan())
    assert "<script>" not in shown
    assert "&lt;script&gt;a" in shown


def test_the_better_figure_is_marked():
    left = [Score("a", 1.0, True), Score("b", 1.0, False), Score("c", 1.0, None), Score("d", 1.0, True)]
    right = [Score("a", 2.0, True), Score("b", 2.0, False), Score("c", 2.0, None)]
    page = views.scores(left, right, ("take 001", "take 002"))
    marked = [line.split("</td>") for line in page.split("<tr>")[2:]]
    assert [[" best" in cell for cell in line[1:3]] for line in marked] == [
        [False, True],
        [True, False],
        [False, False],
        [False, False],
    ]
    assert "–" in marked[3][2]
