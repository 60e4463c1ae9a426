"""The marine's colour on pictures whose answer is known."""

import pytest
import torch

from longtake.metrics.subject_colour import COLOURS, PromptColour, SubjectColour, colour_of, marine_colours

SHADES = {"grey": (120, 120, 118), "blue": (30, 30, 200), "green": (60, 130, 50), "red": (170, 30, 25)}
BROWN = (110, 80, 50)


def _video(colours, size=64, room=BROWN):
    """A marine of each frame's colour before a brown room: 1 3 f h w."""
    video = torch.tensor(room).view(1, 3, 1, 1, 1).repeat(1, 1, len(colours), size, size).float()
    for frame, colour in enumerate(colours):
        body = torch.tensor(SHADES[colour]).view(3, 1, 1).float()
        video[0, :, frame, size * 7 // 16 : size * 7 // 8, size * 7 // 16 : size * 9 // 16] = body
    return video / 127.5 - 1


@pytest.mark.parametrize("size", [64, 128])
def test_every_colour_is_named(size):
    named = marine_colours(_video(list(SHADES), size))[0].tolist()
    assert [COLOURS[place] for place in named] == list(SHADES)


def test_an_empty_brown_room_is_no_colour():
    assert marine_colours(_video(["grey"])[:, :, :, :8].repeat(1, 1, 1, 8, 1)).tolist() == [[0]]


def test_the_score_is_the_share_of_frames_that_keep_the_first_colour():
    metric = SubjectColour()
    metric.update(_video(["blue"] * 15 + ["red"] * 5))
    assert metric.compute().item() == pytest.approx(0.75)
    metric.update(_video(["green"] * 20))
    assert metric.compute().item() == pytest.approx(0.875)


@pytest.mark.parametrize(
    ("prompt", "colour"),
    [
        ("A marine in green armour is walking through the red surroundings of a cave.", "green"),
        ("A Red marine seen from behind, exploring a dim blue level.", "red"),
        ("The camera follows a blue-suited marine looking around.", "blue"),
        ("Third-person view of a marine in a grey suit, with a fallen marine in view.", "grey"),
        ("A first-person camera exploring a green level, passing a fallen marine.", None),
        ("A marine in greenish light.", None),
        ("A cat.", None),
    ],
)
def test_the_colour_is_read_from_the_prompt(prompt, colour):
    assert colour_of(prompt) == colour


def test_the_prompts_colour_is_looked_for_in_every_frame():
    metric = PromptColour()
    video = _video(["blue"] * 15 + ["red"] * 5)
    assert metric.measure(video[0], prompt="A red marine").score == pytest.approx(0.25)
    assert metric.measure(video[0], prompt="A red marine").curve.values == [0.0] * 15 + [1.0] * 5
    metric.update(video, prompt="A cat in a blue room")
    assert metric.count == 0


def test_a_share_out_of_range_is_refused():
    with pytest.raises(ValueError, match="share is 0"):
        SubjectColour(share=0.0)
