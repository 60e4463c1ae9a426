"""Storyboards that are refused, with their line."""

import pytest
from stories import LIMITS

from longtake.rollouts.memory import MemoryPolicy
from longtake.storyboard.given import VideoProbe

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
        ("segments:\n  - {[name]: a}", 2, "a key of a segment must be one word: there are name, prompt"),
        ('segments: [{name: a, prompt: "\\ud83d"}]', 1, r"prompt has half a letter of UTF-16, as \\ud83d is"),
        ("", 1, "the file is empty"),
        ("segments: [\n", 2, "not YAML"),
        ("segments: [{name: a}]\n---\nsegments: []", 2, "a file holds one storyboard"),
        ("seed: -1\nsegments: [{name: a}]", 1, "seed=-1 must be a whole number of at least 0"),
        ("\nsegment_frames: 42\nsegments: [{name: a}]", 2, "segment_frames=42 must be a multiple of 4 and at most 40"),
        ("compression_ratio: 0\nsegments: [{name: a}]", 1, "compression_ratio=0 is below 1"),
        ("video: {role: first}\nsegments: [{name: a}]", 1, "path is missing"),
        ("video: {path: a, role: middle}\nsegments: [{name: a}]", 1, "role=middle is unknown"),
        (
            "video: {path: a, num_frames: 101}\nsegments: [{name: a}]",
            1,
            "too short.* has 100 frames .* takes 101; give a longer one, or less than num_frames=101",
        ),
        ("video: {path: a, num_frames: 48}\nsegments: [{name: a}]", 1, r"4n \+ 1, 45 or 49"),
        ("video: {path: a, role: last, num_frames: 41}\nsegments: [{name: a}]", 1, "4n at an end, 40 or 44"),
        ("video: {path: a, role: last, num_frames: 100}\nsegments: [{name: a}]", 1, "to lead to it takes 101"),
        ("video: {path: a, role: both, num_frames: 52}\nsegments: [{name: a}]", 1, "to keep both its ends takes 101"),
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
