"""Sharpness against known answers: flat frames, waves, chequerboards, blur."""

import math

import pytest
import torch
from torch.nn import functional

from longtake.metrics.sharpness import Sharpness


def grey(plane, num_frames=3):
    """Frames 1 3 f h w that all show a plane h w of grey levels from 0 to 255."""
    return (plane / 127.5 - 1).float().expand(1, 3, num_frames, *plane.shape)


def score(*videos):
    metric = Sharpness()
    for video in videos:
        metric.update(video)
    return metric.compute().item()


def wave(period, size=66):
    """A wave of 50 grey levels along the rows; the inner 64 pixels hold whole periods."""
    return (128 + 50 * torch.sin(2 * math.pi * torch.arange(size) / period + 0.3)).expand(size, size)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_flat_frames_hold_no_detail(level):
    assert score(grey(torch.full((16, 24), level))) == pytest.approx(0, abs=1e-4)


def test_a_ramp_holds_no_detail():
    assert score(grey(torch.arange(32.0).expand(16, 32) * 4)) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("period", [4, 8, 16, 32])
def test_a_wave_scores_the_closed_form(period):
    expected = math.sqrt(2) * 50 * (1 - math.cos(2 * math.pi / period))
    assert score(grey(wave(period))) == pytest.approx(expected, rel=1e-4)
    assert score(grey(wave(period).T)) == pytest.approx(expected, rel=1e-4)


def test_a_chequerboard_scores_the_most():
    board = (torch.arange(16)[:, None] + torch.arange(18)) % 2 * 255.0
    assert score(grey(board)) == pytest.approx(1020)  # four neighbours, each 255 away


def test_colours_count_by_their_luma():
    plane = wave(8)
    green = torch.full((1, 3, 2, 66, 66), -1.0)
    green[:, 1] = (plane / 127.5 - 1).float()
    assert score(green) == pytest.approx(0.587 * score(grey(plane)), rel=1e-4)


def test_blur_lowers_it_and_noise_raises_it():
    generator = torch.Generator().manual_seed(0)
    video = functional.interpolate(torch.rand(3, 4, 16, 16, generator=generator) - 0.5, scale_factor=4)[None]
    blurred = functional.avg_pool2d(video[0], 3, stride=1, padding=1)[None]
    noisy = video + 0.2 * (torch.rand(video.shape, generator=generator) - 0.5)
    assert score(blurred) < 0.6 * score(video) < 0.6 * score(noisy)


def test_numbers_of_frames_do_not_matter():
    assert score(grey(wave(8), 1)) == pytest.approx(score(grey(wave(8), 40)))
    assert score(grey(wave(8), 1), grey(wave(16), 9)) == pytest.approx(
        (score(grey(wave(8))) + score(grey(wave(16)))) / 2
    )


def test_the_curve_has_a_value_a_frame():
    video = torch.cat([grey(wave(8), 2), grey(wave(16), 1)], dim=2)
    measured = Sharpness().measure(video[0])
    expected = [math.sqrt(2) * 50 * (1 - math.cos(2 * math.pi / period)) for period in (8, 8, 16)]
    assert measured.curve.frames == [0, 1, 2]
    assert measured.curve.values == pytest.approx(expected, rel=1e-4)
    assert measured.score == pytest.approx(sum(expected) / 3, rel=1e-4)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (torch.zeros(1, 1, 4, 16, 16), "takes videos as 3 f h w"),
        (torch.full((1, 3, 4, 16, 16), 255.0), r"pixels in \[-1, 1\], got values from 255 to 255"),
        (torch.zeros(1, 3, 4, 2, 16), "at least 3 pixels a side, got 2 × 16"),
        (torch.zeros(1, 3, 0, 16, 16), "at least 1 frames, got 0"),
    ],
)
def test_what_is_no_video_is_refused(video, message):
    with pytest.raises(ValueError, match=message):
        score(video)
