"""What refusals of storyboards advise, and ratios that grow with distance."""

import pytest
from composing import composed

from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.segmentwise import Segmentwise
from longtake.storyboard.given import VideoProbe
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.storyboard.schema import ModelLimits

# YAML and wording


LIMITS = ModelLimits("weights", 10, 64, 4, MemoryPolicy(5, 8.0, 1.0, 64.0))
PLACE = r"story\.yaml, line"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("segments: [{name: a, num_frames: 40}]", r"4n \+ 1 frames: use 37$"),
        ("segments: [{name: a, num_frames: 36}]", r"4n \+ 1 frames: use 33 or 37$"),
        ("segments: [{name: a}, {name: b, num_frames: 45}]", r"4n frames: use 40$"),
        ("segments: [{name: a, num_frames: 41}]", r"window of 10 latents \(37 frames here\)"),
        ("segments: [{name: a}, {name: b, num_frames: 44}]", r"window of 10 latents \(40 frames here\)"),
        (
            "segments: [{name: a}, {name: b, gap: 40},\n {name: c, num_frames: 36, between: [a, b]}]",
            r"by what the others say they lie 4 frames apart, by c 0 frames apart$",
        ),
        (
            "segments: [{name: a}, {name: b, gap: 32},\n {name: c, num_frames: 36, between: [a, b]}]",
            r"by what the others say they overlap by 4 frames, by c 0 frames apart$",
        ),
        ("seed: 0\nprompt: A marine: in red\nsegments: []", rf'{PLACE} 2: not YAML: .*quotes.*"A marine: in red"'),
        ("segments:\n  - {name: a, prompt: A: b: c}", rf"{PLACE} 2: not YAML: .*quotes"),
        (
            "segments: [{name: a, compression_ratio: 65}]",
            r"compression_ratio=65 is above rollout\.max_compression_ratio=64: use at most that",
        ),
        ("seed: 0\nvideo: .\nsegments: [{name: a}]", rf"{PLACE} 2: video .*: is a folder: give a video in it"),
    ],
)
def test_refusals_say_what_would_do(tmp_path, text, words):
    (tmp_path / "story.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        plan(read_storyboard(tmp_path / "story.yaml", LIMITS), LIMITS, VideoProbe(8.0))


def test_a_folder_is_no_storyboard(tmp_path):
    with pytest.raises(ValueError, match="is a folder: give a file in it"):
        read_storyboard(tmp_path, LIMITS)


def test_a_memory_that_is_too_small_names_a_setting_that_there_is(tmp_path):
    (tmp_path / "story.yaml").write_text("segments: [{name: a}, {name: b}]")
    limits = LIMITS._replace(memory=MemoryPolicy(0, 8.0, 1.0, 64.0))
    with pytest.raises(ValueError, match=r"raise rollout\.max_context$"):
        plan(read_storyboard(tmp_path / "story.yaml", limits), limits, VideoProbe(8.0))
    assert "max_context" in composed("generate", "rollout=segmentwise").rollout


# Rates that grow


def test_rates_grow_with_distance_as_in_the_rollout(tmp_path):
    limits = LIMITS._replace(memory=MemoryPolicy(5, 2.0, 3.0, 40.0))
    path = tmp_path / "story.yaml"
    path.write_text("segments: [{name: a}, {name: b}, {name: c}, {name: d}, {name: e}]")
    last = plan(read_storyboard(path, limits), limits, VideoProbe(8.0)).steps[-1]
    assert {source.name: source.compression_ratio for source in last.sources} == {
        "a": 40.0,
        "b": 18.0,
        "c": 6.0,
        "d": 2.0,
    }
    rollout = Segmentwise(
        segment_frames=10,
        window_frames=2,
        max_context=5,
        compression_ratio=2.0,
        ratio_growth=3.0,
        max_compression_ratio=40.0,
        memory_level=0.0,
    )
    canvas = rollout.plan(50)[-1]
    assert [each.compression_ratio for each in canvas.remembered] == [
        source.compression_ratio for source in last.sources
    ]
    assert canvas.remembered == tuple(each._replace(start=each.start + 40) for each in last.canvas.remembered)


def test_a_stated_rate_and_a_segments_length_bound_the_growth(tmp_path):
    limits = LIMITS._replace(memory=MemoryPolicy(5, 2.0, 100.0, 1000.0))
    path = tmp_path / "story.yaml"
    given = "{name: a, latents: 1}, {name: b, compression_ratio: 3}, {name: c, gap: 40}, {name: d, between: [b, c]}"
    path.write_text(f"segments: [{given}]")
    steps = {step.name: step for step in plan(read_storyboard(path, limits), limits, VideoProbe(8.0)).steps}
    rates = {source.name: source.compression_ratio for source in steps["d"].sources}
    assert rates == {"a": 64.0, "b": 3.0, "c": 2.0}, "a has 64 tokens; b and c adjoin d alike, and b states its rate"
