"""What `maze_chunks` says of videos whose chunks agree, of those that do not, and of tokens that change nothing."""

from types import SimpleNamespace

import pytest
import torch
from builders import CHANNELS, TEXT, awake, tiny_dit, tiny_vin

from benchmarks.maze_chunks import REAL, VIN, Made, by_time, losses, measured, resampled
from longtake.objectives import CleanPrediction, LinearPath, NoWeight, Objective, Uniform
from networks.control import PoseControl


@pytest.mark.slow
def test_chunks_of_one_video_agree_and_chunks_of_others_do_not():
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(12, 1, 3, generator=generator).expand(-1, 4, -1)
    every = torch.randn(12, 4, 3, generator=generator)
    near = one + 0.1 * torch.randn(12, 4, 3, generator=generator)
    none: dict = {"revisit": [], "seam": []}
    made = {REAL: Made(near, none), VIN: Made(one, none), "apart": Made(every, none)}
    found = resampled(made, [str(number // 2) for number in range(12)])
    assert found[VIN]["first_last"][0] == pytest.approx(1)
    assert found[VIN]["of_real"][0] > 1
    assert found[VIN]["below_vin"] == [0, 0, 0]
    mean, low, _ = found["apart"]["below_vin"]
    assert mean > low > 0.3
    assert found["apart"]["within_over_total"][0] > 0.5 > found[REAL]["within_over_total"][0]


def test_a_video_is_measured_where_it_comes_back_and_where_chunks_meet():
    latents = torch.zeros(1, 2, 8, 1, 1)
    pixels = torch.rand(3, 29, 16, 16) * 2 - 1
    pixels[:, 15:] = pixels[:, :14].flip(1)  # back over the same frames; chunks of two latents meet at 5, 13 and 21
    way = torch.cat([torch.arange(15.0), torch.arange(13, -1, -1.0)]) * 40
    poses = torch.stack([way, 0 * way, 0 * way, 0 * way], dim=1)
    made = measured([latents], [pixels], [poses], 2)
    assert made.chunks.shape == (1, 4, 2)
    assert made.measures["revisit"] == [100]
    assert made.measures["seam"][0] == pytest.approx(1, abs=0.2)


def test_tokens_that_are_left_out_are_missed_in_loss_and_given_frames_are_not_scored():
    network = awake(tiny_vin(backbone=tiny_dit(control=PoseControl(width=32, frames_per_latent=4, unit=50.0)))).eval()
    objective = Objective(path=LinearPath(), prediction=CleanPrediction(), times=Uniform(), weight=NoWeight())
    module = SimpleNamespace(network=network, objective=objective)
    text = SimpleNamespace(encode=lambda captions: (torch.zeros(1, 1, TEXT), torch.ones(1, 1, dtype=torch.bool)))
    pipeline = SimpleNamespace(module=module, text_encoder=text)
    clean = torch.randn(1, CHANNELS, 6, 4, 4, generator=torch.Generator().manual_seed(1))
    poses = torch.randn(21, 4, generator=torch.Generator().manual_seed(2))
    found = losses(pipeline, [clean], [poses], 0, seed=0)
    assert all(gain != 0 for _, gain in found[0].values())
    behind = losses(pipeline, [clean], [poses], 3, seed=0)
    assert behind[0][0.9] != found[0][0.9]
    assert by_time(found, ["maze"])["0.9"][0] == pytest.approx(found[0][0.9][1])
