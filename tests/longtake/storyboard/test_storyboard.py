"""Storyboards: reading, refusing, planning, keys, memory, and carrying out."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.describe import costs, describe
from longtake.storyboard.given import GivenReader, VideoProbe
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import dependants, plan
from longtake.storyboard.run import boundaries, cuts, make_storyboard, whole_take
from longtake.storyboard.schema import GivenFacts, ModelLimits, Source
from longtake.storyboard.store import SegmentStore
from longtake.video import write_video

ROOT = Path(__file__).parents[3]
LIMITS = ModelLimits("weights", 10, 64, 4, MemoryPolicy(5, 8.0, 1.0, 1000.0))


def probe(path):
    return GivenFacts(100, f"content of {path.name}")


@pytest.fixture
def planned(tmp_path):
    """Plans a text, under a name by which errors know it."""

    def make(text, limits=LIMITS, facts=probe, name="story.yaml"):
        (tmp_path / name).write_text(text)
        return plan(read_storyboard(tmp_path / name, limits), limits, facts)

    return make


def steps_of(made):
    return {step.name: step for step in made.steps}


FORWARD = "segments: [{name: a}, {name: b}, {name: c, memory: none}, {name: d}]"

DIRECTIONS = """
segments:
  - {name: end, after: begin, gap: 80}
  - {name: begin, after: none}
  - {name: fore, before: end, latents: 8, direction: retrodict}
  - {name: middle, between: [begin, fore], latents: 12}
"""

RETURN = """
segments:
  - {name: a1, shot: A}
  - {name: b, shot: B}
  - {name: a2, shot: A, gap: 8}
"""


class Maker:
    """A MakeSegment that counts its calls; what it makes depends on everything that it is given."""

    def __init__(self, fail_at=None):
        self.calls = []
        self.fail_at = fail_at

    def __call__(self, step, context):
        if step.name == self.fail_at:
            raise KeyboardInterrupt
        assert [segment.step.name for segment in context] == [source.name for source in step.sources]
        self.calls.append(step.name)
        level = step.seed % 97 + sum(float(segment.latents.float().mean()) for segment in context)
        return torch.full((1, 2, step.latents, 3, 3), float(level))


def no_video(step):
    raise AssertionError(step.name)


# Order and places


def test_forward_segments_follow_each_other(planned):
    made = planned(FORWARD)
    steps = steps_of(made)
    assert made.timeline == tuple(step.name for step in made.steps) == ("a", "b", "c", "d")
    assert [step.task for step in made.steps] == ["new_shot", "predict", "predict", "predict"]
    assert [step.offset for step in made.steps] == [0, 10, 20, 30]
    assert [step.num_frames for step in made.steps] == [37, 40, 40, 40]
    assert steps["c"].sources == (Source("b", 8.0, -10, 0),), "memory: none still knows what it continues"
    assert [s.name for s in steps["d"].sources] == ["a", "b", "c"]
    assert (steps["b"].before, steps["b"].after) == ("a", None)
    assert [step.starts_take for step in made.steps] == [True, False, False, False]


def test_every_direction_in_one_shot(planned):
    made = planned(DIRECTIONS, LIMITS._replace(max_latents=12))
    steps = steps_of(made)
    assert [step.name for step in made.steps] == ["begin", "end", "fore", "middle"], "made"
    assert made.timeline == ("begin", "middle", "fore", "end"), "seen"
    assert [step.task for step in made.steps] == ["new_shot", "predict", "retrodict", "interpolate"]
    assert {name: step.offset - steps["begin"].offset for name, step in steps.items()} == {
        "begin": 0,
        "end": 32,
        "fore": 24,
        "middle": 12,
    }
    assert (steps["middle"].before, steps["middle"].after) == ("begin", "fore")
    assert (steps["end"].before, steps["end"].after) == (None, None), "begin is in its memory, but far away"
    assert {step.shot for step in made.steps} == {0}
    starts = {step.name: step.start for step in made.steps}
    assert starts == {"begin": 0, "middle": 12, "fore": 24, "end": 32}


def test_a_cut_and_a_return(planned):
    made = planned(RETURN)
    steps = steps_of(made)
    assert made.timeline == ("a1", "b", "a2")
    assert [step.task for step in made.steps] == ["new_shot", "new_shot", "predict"]
    assert [step.shot for step in made.steps] == [0, 1, 0]
    assert (steps["a2"].offset, steps["a2"].before) == (12, None), "two latents of the shot pass unseen"
    assert steps["a2"].sources == (Source("a1", 8.0, -12, 0), Source("b", 8.0, -10, -1))
    assert steps["b"].sources == (Source("a1", 8.0, -10, -1),)
    assert boundaries(made) == [37, 77]
    assert cuts(made) == [37, 77]
    assert steps_of(planned(RETURN.replace(", gap: 8", "")))["a2"].before == "a1"


def test_a_shot_may_be_made_backwards_after_a_cut(planned):
    made = planned("""
segments:
  - {name: a}
  - {name: b, direction: new_shot, after: none}
  - {name: before_b, direction: retrodict, before: b, after: a}
""")
    assert made.timeline == ("a", "before_b", "b")
    steps = steps_of(made)
    assert (steps["before_b"].task, steps["before_b"].offset, steps["before_b"].shot) == ("retrodict", -10, 1)
    assert [(s.name, s.distance, s.cuts) for s in steps["before_b"].sources] == [("a", -10, -1), ("b", 10, 0)]


def test_given_videos(planned):
    made = planned("""
video:
  - {path: a.mp4, role: first, num_frames: 49}
  - {path: b.mp4, role: last}
segments:
  - {name: middle, between: [first, last]}
""")
    assert made.timeline == ("first.1", "first", "middle", "last")
    steps = steps_of(made)
    assert [step.task for step in made.steps] == ["given", "given", "given", "interpolate"]
    parts = {name: (step.given.begin, step.given.num_frames) for name, step in steps.items() if step.given}
    assert parts == {"first.1": (51, 9), "first": (60, 40), "last": (1, 40)}, "the end of one, the start of the other"
    assert [step.latents for step in made.steps] == [3, 10, 10, 10]
    assert [s.name for s in steps["middle"].sources] == ["first.1", "first", "last"]
    both = planned("video: {path: a.mp4, role: both}\nsegments: [{name: m, between: [first, last]}]")
    parts = {step.name: (step.given.begin, step.given.num_frames) for step in both.steps if step.given}
    assert parts == {"first": (0, 37), "last": (60, 40)}


def test_retrodiction_is_the_default_where_only_an_end_is_given(planned):
    text = "video: {path: a.mp4, role: last}\nsegments: [{name: a}, {name: b, direction: retrodict}]"
    made = planned(text)
    assert made.timeline == ("b", "a", "last")
    assert [step.offset for step in made.steps] == [0, -10, -20]


def test_the_memory_keeps_what_adjoins_then_the_shots_beginning_then_the_nearest(planned):
    text = "segments: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]"
    kept = {
        most: planned(text, LIMITS._replace(memory=MemoryPolicy(most, 8.0, 1.0, 1000.0))).steps[-1].sources
        for most in (1, 2, 3)
    }
    assert [[source.name for source in kept[most]] for most in (1, 2, 3)] == [["d"], ["a", "d"], ["a", "c", "d"]]


# Keys


@pytest.mark.parametrize("changed", ["a", "b", "c", "d"])
def test_a_changed_seed_changes_the_keys_of_the_segment_and_its_dependants_only(planned, changed):
    before = planned(FORWARD)
    after = planned(FORWARD.replace(f"name: {changed}", f"name: {changed}, seed: 7"))
    expected = {"a": {"a", "b", "c", "d"}, "b": {"b", "c", "d"}, "c": {"c", "d"}, "d": {"d"}}[changed]
    different = {x.name for x, y in zip(before.steps, after.steps, strict=True) if x.key != y.key}
    assert different == expected == dependants(before, changed)


def test_forgetting_cuts_the_dependence(planned):
    text = "segments: [{name: a, shot: A}, {name: b, shot: B, memory: none}, {name: c, memory: [b]}]"
    assert dependants(planned(text), "a") == {"a"}


def test_an_old_key_is_read_as_today_s(planned):
    for told in ("{name: b, RATIO: 16}", "{name: b}, {name: x, RATIO: 4}"):
        text = FORWARD.replace("{name: b}", told)
        old, now = planned(text.replace("RATIO", "rate")), planned(text.replace("RATIO", "compression_ratio"))
        assert old == now


def test_a_rate_belongs_to_those_who_remember(planned):
    before, after = planned(FORWARD), planned(FORWARD.replace("{name: b}", "{name: b, compression_ratio: 16}"))
    assert [x.key == y.key for x, y in zip(before.steps, after.steps, strict=True)] == [True, True, False, False]


def test_an_inserted_segment_leaves_those_before_it_alone(planned):
    before, after = planned(FORWARD), planned(FORWARD.replace("{name: c,", "{name: new}, {name: c,"))
    old, new = steps_of(before), steps_of(after)
    assert [old[n].key == new[n].key for n in "abcd"] == [True, True, False, False]
    assert [old[n].seed == new[n].seed for n in "abcd"] == [True] * 4


@pytest.mark.parametrize(
    "change",
    [
        lambda text, limits: (text, limits._replace(fingerprint="other")),
        lambda text, limits: (text.replace("{name: a}", "{name: a, prompt: other}"), limits),
        lambda text, limits: (text.replace("{name: a}", "{name: a, latents: 9}"), limits),
        lambda text, limits: ("seed: 5\n" + text, limits),
    ],
)
def test_what_determines_the_first_segment_changes_every_key(planned, change):
    text, limits = change(FORWARD, LIMITS)
    assert all(x.key != y.key for x, y in zip(planned(FORWARD).steps, planned(text, limits).steps, strict=True))


# Carrying out


def test_a_killed_run_continues_and_a_second_one_makes_nothing(planned, tmp_path):
    made, store = planned(FORWARD), SegmentStore(tmp_path / "store")
    killed = Maker(fail_at="c")
    with pytest.raises(KeyboardInterrupt):
        make_storyboard(made, store, killed, no_video)
    assert killed.calls == ["a", "b"]
    resumed, fresh = Maker(), Maker()
    first = make_storyboard(made, store, resumed, no_video)
    assert resumed.calls == ["c", "d"]
    again = Maker()
    second = make_storyboard(made, store, again, no_video)
    assert again.calls == []
    third = make_storyboard(made, SegmentStore(tmp_path / "other"), fresh, no_video)
    assert list(first) == ["a", "b", "c", "d"]
    assert all(torch.equal(first[n], second[n]) and torch.equal(first[n], third[n]) for n in first)
    assert whole_take(first).shape == (1, 2, 40, 3, 3)
    assert not list((tmp_path / "store").glob("*.part"))


def test_a_rerolled_segment_remakes_its_dependants(planned, tmp_path):
    store = SegmentStore(tmp_path / "store")
    make_storyboard(planned(FORWARD), store, Maker(), no_video)
    rolled = Maker()
    make_storyboard(planned(FORWARD.replace("memory: none", "memory: none, seed: 3")), store, rolled, no_video)
    assert rolled.calls == ["c", "d"]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * len(b)])
def test_a_broken_file_is_made_again(planned, tmp_path, damage):
    made, store = planned(FORWARD), SegmentStore(tmp_path / "store")
    make_storyboard(made, store, Maker(), no_video)
    path = store.path_of(made.steps[1])
    path.write_bytes(damage(path.read_bytes()))
    assert [store.has(step) for step in made.steps] == [True, False, True, True]
    again = Maker()
    make_storyboard(made, store, again, no_video)
    assert again.calls == ["b"]
    assert store.has(made.steps[1])


def test_segments_come_out_in_the_order_in_which_they_are_seen(planned, tmp_path):
    made = planned(DIRECTIONS, LIMITS._replace(max_latents=12))
    maker = Maker()
    latents = make_storyboard(made, SegmentStore(tmp_path / "store"), maker, no_video)
    assert maker.calls == ["begin", "end", "fore", "middle"]
    assert list(latents) == ["begin", "middle", "fore", "end"]


def test_a_segment_of_the_wrong_length_is_refused(planned, tmp_path):
    with pytest.raises(ValueError, match="segment a is"):
        make_storyboard(
            planned(FORWARD), SegmentStore(tmp_path), lambda step, context: torch.zeros(1, 2, 9, 3, 3), no_video
        )


class CausalCodec:
    """Every latent is the mean of its frames and says how many they were; the first one has one frame."""

    time_factor = 4

    def encode(self, video):
        assert video.shape[2] % 4 == 1
        ends = [0, *range(1, video.shape[2] + 1, 4)]
        pieces = [video[:, :, a:b] for a, b in pairwise(ends)]
        return torch.stack([piece.mean(2) + 1000 * piece.shape[2] for piece in pieces], dim=2)


def test_given_frames_are_encoded_as_they_lie_in_the_take(planned):
    frames = np.arange(100, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), dtype=np.uint8)

    def read(*_, first, num_frames, **__):
        return frames[first : first + num_frames]

    reader = GivenReader(CausalCodec(), read, 2, 2, 8.0, torch.device("cpu"))
    made = planned("""
video: [{path: a.mp4, role: first, num_frames: 49}, {path: b.mp4, role: last}]
segments: [{name: middle, between: [first, last]}]
""")
    for step in (step for step in made.steps if step.given is not None):
        latents = reader(step)
        assert latents.shape == (1, 3, step.latents, 2, 2)
        counts = (latents[0, 0, :, 0, 0] / 1000).round().int().tolist()
        assert counts == ([1] if step.starts_take else [4]) + [4] * (step.latents - 1)
        values = (latents[0, 0, :, 0, 0] - 1000 * torch.tensor(counts) + 1) * 127.5
        ends = np.cumsum([step.given.begin, *counts])
        expected = [(a + b - 1) / 2 for a, b in pairwise(ends)]
        assert np.allclose(values.numpy(), expected, atol=0.05)


def test_a_video_is_counted_as_it_will_be_read(tmp_path):
    from longtake.video import read_frames

    path = tmp_path / "own.mp4"
    write_video(path, iter([torch.rand(3, 23, 16, 16) * 2 - 1]), fps=10)
    for fps in (10.0, 4.0, 7.5, 24.0):
        read = read_frames(path, height=16, width=16, fps=fps, crop_place=0.5)
        assert VideoProbe(fps)(path).num_frames == len(read)
    (tmp_path / "text.mp4").write_text("no video")
    for name in ("text.mp4", "nowhere.mp4"):
        with pytest.raises(ValueError, match=r"no such file|cannot be decoded"):
            VideoProbe(10.0)(tmp_path / name)


# Refusals


HEAD = "segments:\n"
REFUSALS = {
    "cycle": ("  - {name: a, after: b}\n  - {name: b, after: a}", 2, r"circle|cycle"),
    "cycle through memory": (
        "  - {name: a}\n  - {name: b, memory: [c]}\n  - {name: c}",
        3,
        r"a cycle: b, which needs c",
    ),
    "order in a circle": (
        "  - {name: c, before: a}\n  - {name: a, after: none}\n  - {name: b, between: [a, c]}",
        2,
        r"circle|claim the same place",
    ),
    "missing source": ("  - {name: first_one}\n  - name: b\n    after: first_oen", 4, r"did you mean first_one"),
    "missing memory": ("  - {name: a}\n  - name: b\n    memory: [a, x]", 4, r"b needs x, which is not there"),
    "itself": ("  - {name: a}\n  - {name: b, after: b}", 3, r"b refers to itself"),
    "unknown direction": ("  - name: a\n    direction: sideways", 3, r"direction=sideways is unknown: use predict"),
    "unknown key": ("  - name: a\n    promt: x", 3, r"promt is not a key of a segment \(did you mean prompt\?\)"),
    "key twice": ("  - name: a\n    seed: 1\n    seed: 2", 4, r"seed is said twice, first in line 3"),
    "duplicate names": ("  - {name: a}\n  - {name: a}", 3, r"two segments are called a, the first in line 2"),
    "no name": ("  - {prompt: x}", 2, r"name is missing"),
    "no segments": ("  []", 2, r"segments is empty"),
    "not a list": ("  name: a", 2, r"segments must be a list"),
    "frames of the first": ("  - {name: a, num_frames: 36}", 2, r"4n \+ 1 frames: use 33 or 37"),
    "frames of another": ("  - {name: a}\n  - {name: b, num_frames: 37}", 3, r"4n frames: use 36 or 40"),
    "longer than the window": ("  - {name: a}\n  - {name: b, num_frames: 44}", 3, r"11 latents, more than .* 10"),
    "latents beyond the window": ("  - {name: a, latents: 11}", 2, r"more than the model's window"),
    "frames and latents": ("  - {name: a, latents: 1, num_frames: 1}", 2, r"both num_frames and latents"),
    "not a number": ("  - {name: a, num_frames: many}", 2, r"num_frames=many must be a whole number"),
    "rate below one": ("  - {name: a}\n  - {name: b, compression_ratio: 0.5}", 3, r"compression_ratio=0.5 is below 1"),
    "rate of no token": (
        "  - {name: a, compression_ratio: 641}",
        2,
        r"compression_ratio=641 leaves no token: a has 640 video tokens",
    ),
    "rate that is none": ("  - {name: a, compression_ratio: .nan}", 2, r"compression_ratio=.nan must be a number"),
    "one end": ("  - {name: a}\n  - {name: b, direction: interpolate}", 3, r"has not both ends"),
    "one name between": ("  - {name: a}\n  - {name: b, between: [a]}", 3, r"between 1 segments"),
    "twice the same end": ("  - {name: a}\n  - {name: b, between: [a, a]}", 3, r"between a and itself"),
    "same place": ("  - {name: a}\n  - {name: b}\n  - {name: c, after: a}", 4, r"c and b .* claim the same place"),
    "same place before": (
        "  - {name: a}\n  - {name: b, direction: retrodict}\n  - {name: c, before: a}",
        4,
        r"c and b .* claim the same place on the timeline, before a",
    ),
    "nothing to predict": ("  - {name: a, direction: predict}", 2, r"nothing that it continues"),
    "nothing to retrodict": ("  - {name: a, direction: retrodict}", 2, r"nothing that it leads to"),
    "not joined": ("  - {name: a}\n  - {name: b, after: none}", 3, r"b is not joined to the rest"),
    "predict over a cut": (
        "  - {name: a, shot: A}\n  - {name: b, shot: B, direction: predict}",
        3,
        r"direction predict does not fit b: what it adjoins is in another shot",
    ),
    "a shot begun twice": (
        "  - {name: a, shot: A}\n  - {name: b, shot: B}\n  - {name: c, shot: A, direction: new_shot}",
        4,
        r"a has begun its shot",
    ),
    "interpolation between shots": (
        "  - {name: a, shot: A}\n  - {name: b, shot: B, after: none}\n  - {name: c, between: [a, b]}",
        4,
        r"c would join shot A and shot B",
    ),
    "gap that is never filled": ("  - {name: a}\n  - {name: b, gap: 40}", 3, r"nothing fills the gap before b"),
    "gap of another length": (
        "  - {name: a}\n  - {name: b, gap: 40}\n  - {name: c, num_frames: 36, between: [a, b]}",
        4,
        r"c does not fit: the lengths and gaps",
    ),
    "gap between latents": (
        "  - {name: a}\n  - {name: b, gap: 41}\n  - {name: c, between: [a, b]}",
        3,
        r"gap=41 must be a multiple of 4: 40 or 44",
    ),
    "gap before a shot": ("  - {name: a}\n  - {name: b, shot: B, gap: 4}", 3, r"nothing that its gap could follow"),
    "shots that overlap": (
        "  - {name: a}\n  - {name: c, gap: 4}\n  - {name: m, num_frames: 4, between: [a, c]}\n"
        "  - {name: b, after: a, gap: 40}\n  - {name: y, shot: Y, after: c, before: b}",
        5,
        r"b and c \(line 3\) claim the same place on the timeline of their shot",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_line_and_reason(planned, case):
    text, line, reason = REFUSALS[case]
    with pytest.raises(ValueError, match=rf"story\.yaml, line {line}: .*({reason})"):
        planned(HEAD + text)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("seed: 1\nsegment: []", 2, r"segment is not a key of a storyboard \(did you mean segments\?\)"),
        ("seed: 1", 1, r"segments is missing"),
        ("", 1, "the file is empty"),
        ("segments: [\n", 2, "not YAML"),
        ("segments: [{name: a}]\n---\nsegments: []", 2, "a file holds one storyboard"),
        ("seed: -1\nsegments: [{name: a}]", 1, "seed=-1 must be a whole number of at least 0"),
        ("\nsegment_frames: 42\nsegments: [{name: a}]", 2, "segment_frames=42 must be a multiple of 4 and at most 40"),
        ("compression_ratio: 0\nsegments: [{name: a}]", 1, "compression_ratio=0 is below 1"),
        ("video: {role: first}\nsegments: [{name: a}]", 1, "path is missing"),
        ("video: {path: a, role: middle}\nsegments: [{name: a}]", 1, "role=middle is unknown"),
        ("video: {path: a, num_frames: 101}\nsegments: [{name: a}]", 1, "too short.* has 100 frames .* needs 101"),
        ("video: {path: a, num_frames: 48}\nsegments: [{name: a}]", 1, r"4n \+ 1, 45 or 49"),
        ("video: {path: a, role: last, num_frames: 41}\nsegments: [{name: a}]", 1, "4n at an end, 40 or 44"),
        ("video: {path: a, role: last, num_frames: 100}\nsegments: [{name: a}]", 1, "role last needs 101"),
        ("video: {path: a, role: both, num_frames: 52}\nsegments: [{name: a}]", 1, "role both needs 101"),
        ("\nvideo:\n  - path: a\n  - path: b\nsegments: [{name: a}]", 4, "that of line 3 both come first"),
        ("video: a\nsegments: [{name: first}]", 2, "two segments are called first"),
        ("video: a\nsegments:\n  - {name: b, before: first}", 3, "first is a video that comes first, but b would"),
    ],
)
def test_files_that_cannot_be_are_refused(planned, text, line, reason):
    with pytest.raises(ValueError, match=rf"story\.yaml, line {line}: .*({reason})"):
        planned(text)


def test_a_video_that_is_not_there_is_refused_with_its_line(planned):
    with pytest.raises(ValueError, match=r"line 2: video .*nowhere\.mp4: there is no such file"):
        planned("seed: 0\nvideo: nowhere.mp4\nsegments: [{name: a}]", facts=VideoProbe(8.0))


@pytest.mark.parametrize(
    ("most", "text", "line", "reason"),
    [
        (0, "segments:\n  - {name: a}\n  - {name: b}", 3, r"the memory holds 0 segment\(s\), but b has to remember 1"),
        (1, "segments: [{name: a}, {name: b, gap: 40},\n {name: c, between: [a, b]}]", 2, "c has to remember 2"),
    ],
)
def test_a_memory_that_is_too_small_is_refused(planned, most, text, line, reason):
    with pytest.raises(ValueError, match=rf"line {line}: .*{reason}"):
        planned(text, LIMITS._replace(memory=MemoryPolicy(most, 8.0, 1.0, 1000.0)))


def test_a_single_segment_needs_no_memory(planned):
    assert (
        planned("segments: [{name: a}]", LIMITS._replace(memory=MemoryPolicy(0, 8.0, 1.0, 1000.0))).steps[0].sources
        == ()
    )


# Other formats, examples, cost


SCENES = [
    {"text": "a kitchen", "requires_scene_transition": False, "neg_text": "blur"},
    {"text": "a cat enters"},
    {"text": "the garden", "requires_scene_transition": True},
]
SHOTS = {
    "global_caption": "A ballroom.",
    "shot_captions": ["She waits.", "He looks.", "They meet."],
    "shot_cut_frames": [37, 74],
    "num_frames": 161,
}


def test_a_list_of_scenes(planned):
    made = planned(json.dumps(SCENES, indent=1), name="scenes.json")
    assert made.timeline == ("scene1", "scene2", "scene3")
    assert [step.task for step in made.steps] == ["new_shot", "predict", "new_shot"]
    assert [step.shot for step in made.steps] == [0, 0, 1]
    assert [step.prompt for step in made.steps] == ["a kitchen", "a cat enters", "the garden"]


def test_captions_of_shots(planned):
    made = planned(json.dumps(SHOTS, indent=1), name="shots.json")
    assert made.timeline == ("shot1", "shot2", "shot3.1", "shot3.2", "shot3.3")
    assert [step.latents for step in made.steps] == [10, 9, 7, 7, 8]
    assert cuts(made) == [37, 73], "74 is moved to the frame rule"
    assert sum(step.num_frames for step in made.steps) == 161
    assert [step.prompt for step in made.steps][1:3] == ["A ballroom. He looks.", "A ballroom. They meet."]
    raw = "[global caption] A ballroom. [per shot caption] She waits. [shot cut] He looks. [shot cut] They meet."
    again = planned(json.dumps({"prompt": raw, "shot_cut_frames": [37, 74], "num_frames": 161}), name="raw.json")
    assert [step.key for step in again.steps] == [step.key for step in made.steps]
    even = planned("global_caption: x\nshot_captions: [a, b, c]\nnum_frames: 121")
    assert cuts(even) == [41, 81]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("- text: a\n- prompt: b", 2, "prompt is not a key of a scene"),
        ("- text: a\n  requires_scene_transition: maybe", 2, "must be true or false"),
        ("- text: a\n- text: b\n  requires_scene_transition: maybe", 3, "must be true or false"),
        ("shot_captions: [a, b]\nshot_cut_frames: [37, 74]", 2, "2 cuts for 2 shots: there must be 1"),
        ("shot_captions: [a, b, c]\nshot_cut_frames:\n - 74\n - 37", 4, "has 37 in the wrong place"),
        ("shot_captions: [a, b]\nshot_cut_frames: [300]", 2, "come before frame 241"),
        ("global_caption: x\n", 1, "shot_captions is missing"),
        ("prompt: no list here", 1, "segments is missing: a storyboard lists"),
        ("seed: 3\nprompt: no list here\ncompression_ratio: 8", 1, "segments is missing: a storyboard lists"),
        ("prompt: '[global caption] a [shot cut] b'", 1, "prompt is not `.global caption.*`segments:` is missing"),
        ("- name: a\n  prompt: b\n- name: c", 1, "TTT-Video's scenes .text.*begins with `segments:`"),
        ("num_frames: 5\nshot_captions: [a, b, c]", 1, "num_frames=5 is too short for 3 shots"),
    ],
)
def test_other_formats_are_refused_with_their_line(planned, text, line, reason):
    with pytest.raises(ValueError, match=rf"story\.yaml, line {line}: .*({reason})"):
        planned(text)


@pytest.mark.parametrize("path", sorted((ROOT / "storyboards").glob("*.yaml")), ids=lambda path: path.stem)
def test_examples(path, tmp_path):
    board = read_storyboard(path, LIMITS)
    assert all(Path(video.path).is_file() for video in board.videos)
    made = plan(board, LIMITS, probe)
    maker = Maker()
    latents = make_storyboard(made, SegmentStore(tmp_path), maker, lambda step: torch.zeros(1, 2, step.latents, 3, 3))
    assert whole_take(latents).shape[2] == sum(step.latents for step in made.steps)
    assert sum(step.num_frames for step in made.steps) % 4 == 1
    assert f"storyboard=storyboards/{path.name}" in path.read_text().splitlines()[0]


def test_the_examples_show_every_task():
    paths = list((ROOT / "storyboards").glob("*.yaml"))
    tasks = {step.task for path in paths for step in plan(read_storyboard(path, LIMITS), LIMITS, probe).steps}
    assert tasks == {"new_shot", "predict", "retrodict", "interpolate", "given"}


def test_the_cost_before_anything_is_made(planned):
    made = planned(FORWARD.replace("{name: b}", "{name: b, compression_ratio: 16}"))
    found = costs(made, tokens_per_latent=64, flops=lambda step, tokens, context: 1e12 * (tokens + context))
    assert found["d"].tokens == 640
    assert found["d"].context == {"a": 80, "b": 40, "c": 80}
    assert found["d"].flops == 840e12
    text = describe(
        made,
        tokens_per_latent=64,
        flops=lambda step, tokens, context: 1e12 * (tokens + context),
        is_there=lambda step: step.name in "abc",
    )
    assert "a (8), b (16), c (8)" in text
    assert "1 of 4 segments to do, 840 TFLOPs" in text
    assert "seen: a | b | c | d" in text
