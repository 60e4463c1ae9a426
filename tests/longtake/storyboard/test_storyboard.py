"""Storyboards: order, places, memory, keys, other formats, examples, cost."""

import json
from pathlib import Path

import pytest
import torch
from stories import DIRECTIONS, FORWARD, LIMITS, RETURN, ROOT, Maker, probe, steps_of

from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.describe import costs, describe
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import dependants, plan
from longtake.storyboard.run import boundaries, cuts, make_storyboard, whole_take
from longtake.storyboard.schema import Source
from longtake.storyboard.store import SegmentStore

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


def test_letters_beyond_16_bits_are_read_as_json_writes_them(planned):
    text = json.dumps({"segments": [{"name": "a", "prompt": "A \N{GRINNING FACE}"}]})
    assert "\\ud83d" in text
    assert planned(text).steps[0].prompt == "A \N{GRINNING FACE}"


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
