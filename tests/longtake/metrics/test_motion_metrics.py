"""Motion, smoothness and warp error against flows that are known; drift of scores; networks by name."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from pictures import flat, sliding, still, texture
from torchvision.models.optical_flow import raft_small

from longtake.metrics.drift import ScoreDrift
from longtake.metrics.flow import RaftFlow, optical_flow
from longtake.metrics.frame_difference import SeamScore, TemporalFlicker
from longtake.metrics.motion import MotionAwareWarpError, MotionMagnitude, MotionSmoothness, warp_error


class KnownFlow:
    """Everything moves by `across` pixels a frame, as it does in `sliding`."""

    name, min_side = "known", 1

    def __init__(self, across):
        self.across = across

    def __call__(self, before, after):
        height, width = before.shape[-2:]
        return np.tile(np.float32([self.across, 0]), (height, width, 1))


def test_mawe_of_an_exact_flow_is_the_noise_over_the_motion():
    video = sliding(4, num_frames=5)
    # whole pixels, known flow: only what comes in at the side is new, and that is left out
    assert MotionAwareWarpError(flow=KnownFlow(4)).measure(video[0]).score == 0
    levels = 20
    noisy = video[0].clone() * 0.5
    noisy[:, 1::2] += 2 * levels / 255
    # every pair differs by 20 grey levels; 4 pixels of 64 are 45 of 720
    measured = MotionAwareWarpError(flow=KnownFlow(4)).measure(noisy)
    assert measured.score == pytest.approx(levels**2 / (9.5 * 45), rel=0.02)  # frames are rounded to grey levels
    assert measured.curve.frames == [1, 2, 3, 4]


def test_mawe_does_not_depend_on_size_but_on_flow_errors():
    noise = 0.02 * torch.randn(3, 6, 128, 128, generator=torch.Generator().manual_seed(0))
    small, large = sliding(3, 6, 64)[0] * 0.9 + noise[..., :64, :64], sliding(6, 6, 128)[0] * 0.9 + noise
    scores = [
        MotionAwareWarpError(flow=KnownFlow(shift)).measure(video).score for shift, video in ((3, small), (6, large))
    ]
    assert scores[0] == pytest.approx(scores[1], rel=0.1)
    wrong = MotionAwareWarpError(flow=KnownFlow(-3)).measure(small).score
    assert wrong > 10 * scores[0]
    assert MotionAwareWarpError().measure(small).score < wrong / 3  # DIS is nearer to the truth than its opposite


def test_warp_error_leaves_out_what_nothing_moved_to():
    before, after = torch.zeros(3, 4, 4), torch.full((3, 4, 4), 1.0)
    after[:, :, 3] = 0  # where the only pixels land
    flow = np.tile(np.float32([3, 0]), (4, 4, 1))
    assert warp_error(before, after, flow) == 0
    assert warp_error(before, after, np.full((4, 4, 2), 9, np.float32)) == 0


def test_a_remade_frame_is_the_true_one_where_the_flow_is():
    class ThereAndBack(KnownFlow):
        """The metric asks for the way there, then for the way back."""

        def __call__(self, before, after):
            self.across = -self.across
            return super().__call__(before, after)

    before, middle, after = sliding(2, 3)[0].unbind(1)
    metric = MotionSmoothness(flow=ThereAndBack(-4))  # over two frames

    def error(*frames):  # black to white is 2
        return 2 * (1 - metric.measure(torch.stack(frames, dim=1)).score)

    inside = error(before, middle, after)
    new = 127.5 * torch.stack([before, middle, after])[..., :4].std()  # only the sides show anything new
    assert 127.5 * inside < new * 8 / 64
    assert error(before, before, after) > 3 * inside


def test_even_motion_is_smooth_and_a_jolt_is_not():
    even = sliding(2, 21)[0]
    jolting = torch.stack([texture().roll(2 * n + (3 if n % 2 else 0), dims=2) for n in range(21)], dim=1)
    scores = [MotionSmoothness().measure(video) for video in (even, jolting)]
    assert scores[0].score > 0.97 > scores[1].score + 0.03
    assert scores[0].curve.frames == list(range(1, 20, 2))


def test_smoothness_of_flicker_is_known():
    # the remade frame is the mean of two black ones; the true one is white
    score = MotionSmoothness(flow=KnownFlow(0)).measure(flat([-1.0, 1.0, -1.0, 1.0, -1.0])[0]).score
    assert score == pytest.approx(0.0)


def test_motion_follows_the_known_flow():
    measured = MotionMagnitude(flow=KnownFlow(4)).measure(still(5)[0], fps=8.0)
    assert measured.score == pytest.approx(4 * 8 / 64)
    assert measured.curve.values == pytest.approx([0.5] * 4)


def test_drift_of_a_score_is_the_difference_of_its_ends():
    calm, busy = [0.0] * 10, [0.0, 20 / 127.5] * 5
    video = flat(calm + busy)[0]
    drift = ScoreDrift(metric=TemporalFlicker(), share=0.5).measure(video).score
    assert drift == pytest.approx(20 / 255, rel=1e-4)
    with pytest.raises(ValueError, match="over 2 frames at each end: motion smoothness needs at least 3 frames, got 2"):
        ScoreDrift(metric=MotionSmoothness()).measure(still(10)[0])
    with pytest.raises(ValueError, match="SeamScore needs boundaries, which parts of a video lack"):
        ScoreDrift(metric=SeamScore())


def test_raft_answers_in_pixels_of_the_picture():
    class Shift(torch.nn.Module):
        """Says that all moves by 8 across and 4 down, in pixels of what it is shown."""

        def forward(self, before, after):
            assert before.shape == (1, 3, 128, 256)
            flow = torch.tensor([8.0, 4.0]).view(1, 2, 1, 1)
            return [flow.expand(1, 2, 128, 256)]

    flow = RaftFlow(model=Shift(), name="shift")(torch.zeros(3, 64, 128), torch.zeros(3, 64, 128))
    assert flow.shape == (64, 128, 2)
    assert np.allclose(flow, [4.0, 2.0])
    network = RaftFlow(model=raft_small(weights=None), name="raft_small")
    assert network(torch.zeros(3, 64, 48), torch.zeros(3, 64, 48)).shape == (64, 48, 2)


def test_flows_come_by_name(monkeypatch):
    assert optical_flow(name="dis").name == "DIS (OpenCV, medium)"
    with pytest.raises(ValueError, match="take dis, raft_large or raft_small"):
        optical_flow(name="farneback")

    def no_network(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models.optical_flow.raft_large", no_network)
    with pytest.raises(ValueError, match=r"flow\.name=raft_large: its weights are not on this machine.*flow\.name=dis"):
        optical_flow(name="raft_large")
