"""What the baselines are made of: windows on a canvas, and repeated noise."""

import pytest
import torch
from builders import example

from longtake.rollouts.free_noise import reschedule
from longtake.rollouts.sliding_windows import SlidingWindows

CPU = torch.device("cpu")


def windows(**changes):
    settings = {"window_frames": 4, "overlap_frames": 2, "profile": "triangular", "windows_per_call": 2}
    return SlidingWindows(**{**settings, **changes})


@pytest.mark.parametrize("profile", ["uniform", "triangular"])
@pytest.mark.parametrize(
    ("num_frames", "window", "overlap"), [(40, 10, 4), (37, 10, 4), (11, 10, 9), (7, 10, 4), (30, 10, 0)]
)
def test_weights_sum_to_one_on_every_frame(num_frames, window, overlap, profile):
    frames, weights = windows(window_frames=window, overlap_frames=overlap, profile=profile).plan(num_frames, CPU)
    total = torch.zeros(num_frames).index_add(0, frames.flatten(), weights.flatten())
    torch.testing.assert_close(total, torch.ones(num_frames))
    assert (weights > 0).all()
    assert frames.shape[1] == min(window, num_frames)
    assert (frames[:, -1].max(), frames.min()) == (num_frames - 1, 0)
    assert len(frames.unique(dim=0)) == len(frames)


def test_windows_overlap_as_asked_and_the_last_is_flush_with_the_end():
    frames, _ = windows(window_frames=10, overlap_frames=4).plan(25, CPU)
    assert frames[:, 0].tolist() == [0, 6, 12, 15]


def test_profiles_are_the_plain_mean_and_a_cross_fade():
    _, uniform = windows(profile="uniform").plan(6, CPU)
    assert uniform.tolist() == [[1.0, 1.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    _, triangular = windows(profile="triangular").plan(6, CPU)
    assert triangular.flatten().tolist() == pytest.approx([1, 1, 2 / 3, 1 / 3, 1 / 3, 2 / 3, 1, 1])


def test_a_window_gets_its_own_places_times_and_the_whole_text():
    noisy, time, condition = example(6)
    mask = torch.arange(6).expand(2, -1) != 3
    calls = []

    def network(*inputs):
        calls.append(inputs)
        return inputs[0]

    windows(windows_per_call=0)(network)(noisy, time, condition._replace(frame_mask=mask))
    ((cut, times, cut_condition),) = calls
    for row, (video, start) in enumerate([(0, 0), (0, 2), (1, 0), (1, 2)]):
        piece = slice(start, start + 4)
        assert torch.equal(cut[row], noisy[video, :, piece])
        assert torch.equal(times[row], time[video, piece])
        assert torch.equal(cut_condition.frame_index[row], condition.frame_index[video, piece])
        assert torch.equal(cut_condition.frame_mask[row], mask[video, piece])
        assert torch.equal(cut_condition.text[row], condition.text[video])


@pytest.mark.parametrize("num_frames", [10, 13, 20, 38])
def test_free_noise_repeats_the_first_window_unit_by_unit(num_frames):
    noise = torch.randn(2, 3, num_frames, 4, 4)
    video = reschedule(noise, 10, 5)
    assert torch.equal(video[:, :, :10], noise[:, :, :10])
    for row in range(2):
        for start in range(0, num_frames, 5):
            unit = video[row, :, start : start + 5].unbind(1)
            if len(unit) < 5:
                break
            first = noise[row, :, start % 10 : start % 10 + 5].unbind(1)
            found = sorted(i for frame in unit for i, other in enumerate(first) if torch.equal(frame, other))
            assert found == [0, 1, 2, 3, 4]
        for rest in video[row].unbind(1):
            assert any(torch.equal(rest, other) for other in noise[row, :, :10].unbind(1))


def test_free_noise_shuffles_each_video_and_unit_anew_and_evenly():
    frames = torch.arange(10.0)
    noise = torch.randn(4000, 1, 30, 1, 1)
    noise_of_places = noise.clone()
    noise_of_places[:, 0, :10, 0, 0] = frames  # the first window as its own place numbers
    video = reschedule(noise_of_places, 10, 5)[:, 0, :, 0, 0]
    second, third = video[:, 10:15], video[:, 20:25]
    for unit in (second, third):
        assert torch.equal(unit.sort(dim=1).values, frames[:5].expand(4000, -1))
        counts = torch.stack([(unit == place).float().mean(0) for place in range(5)])
        torch.testing.assert_close(counts, torch.full((5, 5), 0.2), atol=0.03, rtol=0)
    assert (second == third).all(1).float().mean() == pytest.approx(1 / 120, abs=0.008)


def test_free_noise_stays_standard_normal_and_repeatable():
    noise = torch.randn(2, 8, 25, 32, 32)
    video = reschedule(noise, 10, 5)
    assert torch.equal(video, reschedule(noise, 10, 5))
    torch.testing.assert_close(video.mean((0, 1, 3, 4)), torch.zeros(25), atol=0.04, rtol=0)
    torch.testing.assert_close(video.std((0, 1, 3, 4)), torch.ones(25), atol=0.03, rtol=0)
