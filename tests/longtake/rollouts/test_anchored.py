"""The anchored rollout: the video's first frames stand in every window, untouched."""

import pytest
import torch
from builders import awake, example, tiny_dit

from longtake.rollouts.anchored import Anchored
from longtake.rollouts.autoregressive import Autoregressive
from longtake.rollouts.interfaces import Canvas


def anchored(**changes):
    settings = {"window_frames": 5, "context_frames": 2, "anchor_frames": 1, "anchor_place": "adjacent"}
    return Anchored(**{**settings, **changes})


def spied_anchor(frames, **changes):
    """Calls as (noise, condition, given), and the video of a generator that gives every frame a value of its own."""
    calls = []

    def generate(noise, condition, given, wrap):
        calls.append((noise, condition, given))
        made = noise + len(calls)
        return made if given is None else torch.where(given.mask[:, None, :, None, None], given.video, made)

    noise, _, condition = example(frames)
    return calls, anchored(**changes)(generate, Canvas(noise, condition)), noise


@pytest.mark.parametrize("frames", [6, 9, 14])
def test_the_anchor_is_bit_identical_in_every_window(frames):
    calls, video, noise = spied_anchor(frames)
    assert video.shape == noise.shape
    assert calls[0][2] is None
    assert len(calls) > 1
    end = 5
    for number, (window, condition, given) in enumerate(calls[1:], start=2):
        assert given.mask[0].tolist() == [True] * 3 + [False] * (window.shape[2] - 3)
        assert torch.equal(given.video[:, :, 0], video[:, :, 0])
        assert torch.equal(given.video[:, :, 1:3], video[:, :, end - 2 : end])
        new = window.shape[2] - 3
        assert torch.equal(video[:, :, end : end + new], noise[:, :, end : end + new] + number)
        assert condition.frame_index[0].tolist() == list(range(end - 3, end + new))
        assert window.shape[2] <= 5
        end += new
    assert end == frames


def test_the_anchor_may_keep_its_own_place():
    calls, _, _ = spied_anchor(9, anchor_place="canvas")
    assert [c.frame_index[0].tolist() for _, c, _ in calls] == [[0, 1, 2, 3, 4], [0, 3, 4, 5, 6], [0, 5, 6, 7, 8]]


def test_the_anchor_is_seen_by_far_windows_where_autoregressive_ones_forget_it():
    network = awake(tiny_dit()).eval()
    noise, _, condition = example(9)
    changed = noise.clone()
    changed[:, :, 0] += 1

    def last_window(rollout, noise, given_video):
        """The last window's new frames, when the video so far is given."""
        calls = []

        def generate_from(window, condition, given, wrap):
            calls.append((window, condition, given))
            return given_video[:, :, : window.shape[2]] if given is None else window

        rollout(generate_from, Canvas(noise, condition))
        window, placed, given = calls[-1]
        times = torch.full(window.shape[:1] + window.shape[2:3], 0.5).masked_fill(given.mask, 0.0)
        filled = torch.where(given.mask[:, None, :, None, None], given.video, window)
        return network(filled, times, placed)[:, :, -2:]

    autoregressive = Autoregressive(window_frames=5, context_frames=2)
    with torch.no_grad():
        assert torch.equal(last_window(autoregressive, noise, noise), last_window(autoregressive, noise, changed))
        difference = last_window(anchored(), noise, noise) - last_window(anchored(), noise, changed)
    assert difference.abs().max() > 1e-4
