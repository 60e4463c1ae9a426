"""Objectives by closed forms: what goes in comes out, at both ends of every path."""

import math
from pathlib import Path as FilePath

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from longtake.objectives import (
    CleanPrediction,
    CosinePath,
    EpsPrediction,
    FlowPrediction,
    LinearPath,
    LogitNormal,
    MinSNR,
    NoWeight,
    Objective,
    Shifted,
    Uniform,
    VPrediction,
    shift_time,
)
from networks.interfaces import Estimate

CPU = torch.device("cpu")
PATHS = [LinearPath(), CosinePath()]
KINDS = [EpsPrediction(), CleanPrediction(), VPrediction(), FlowPrediction()]
TIMES = [0.0, 0.02, 0.3, 0.5, 0.9, 0.98, 1.0]
CONF = FilePath(__file__).parents[3] / "conf" / "objective"


def _name(part):
    return type(part).__name__


def _objective(path=PATHS[0], prediction=KINDS[3], times=None, weight=None, **settings):
    times = times or Uniform()
    return Objective(path=path, prediction=prediction, times=times, weight=weight or NoWeight(), **settings)


def _pair(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize("path", PATHS, ids=_name)
def test_a_path_runs_from_clean_to_noise_and_knows_its_slope(path):
    time = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    alpha, sigma, d_alpha, d_sigma = path.coefficients(time)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert alpha[-1].item() == pytest.approx(0, abs=1e-12)
    assert sigma[-1] == 1
    inner = slice(1, -1)  # the clamp at time 1 has no slope
    torch.testing.assert_close(torch.autograd.grad(alpha.sum(), time, retain_graph=True)[0][inner], d_alpha[inner])
    torch.testing.assert_close(torch.autograd.grad(sigma.sum(), time)[0][inner], d_sigma[inner])
    assert (path.coefficients(torch.ones(1)).alpha >= 0).all()


@pytest.mark.parametrize("kind", KINDS, ids=_name)
@pytest.mark.parametrize("path", PATHS, ids=_name)
def test_estimate_undoes_corrupt(path, kind):
    clean, noise = _pair(2, 3, len(TIMES), 4, 5)
    time = torch.tensor(TIMES).repeat(2, 1)
    objective = _objective(path, kind)
    noisy = objective.corrupt(clean, time, noise)
    estimate = objective.estimate(objective.target(clean, time, noise), noisy, time)
    # What no division can bring back: the video from the noise alone, the noise from the video alone.
    lost_clean = (time == 1) & isinstance(kind, EpsPrediction)
    lost_noise = (time == 0) & isinstance(kind, CleanPrediction)
    for got, true, lost in ((estimate.clean, clean, lost_clean), (estimate.noise, noise, lost_noise)):
        kept = ~lost[:, None, :, None, None].expand_as(got)
        torch.testing.assert_close(got[kept], true[kept], atol=2e-4, rtol=0)
        assert got[~kept].abs().max().item() < 1e-3 if lost.any() else True
    torch.testing.assert_close(objective.renoise(estimate, time), noisy, atol=1e-4, rtol=0)
    other = time.flip(1)
    if not (lost_clean | lost_noise).any():
        torch.testing.assert_close(
            objective.renoise(estimate, other), objective.corrupt(clean, other, noise), atol=1e-4, rtol=0
        )


@pytest.mark.parametrize("kind", KINDS, ids=_name)
@pytest.mark.parametrize("path", PATHS, ids=_name)
def test_a_wrong_prediction_stays_finite_and_moderate_at_the_ends(path, kind):
    noisy, prediction = _pair(1, 2, 2, 3, 3)
    estimate = _objective(path, kind).estimate(prediction.bfloat16(), noisy, torch.tensor([[0.0, 1.0]]))
    for part in estimate:
        assert part.dtype == torch.float32
        assert torch.isfinite(part).all()
        assert part.abs().max() < 1000


def test_targets_are_the_textbook_ones():
    clean, noise = _pair(1, 2, 1, 3, 3)
    time = torch.full((1, 1), 0.25)
    torch.testing.assert_close(_objective().target(clean, time, noise), noise - clean)
    cos, sin = math.cos(math.pi / 8), math.sin(math.pi / 8)
    v = _objective(CosinePath(), VPrediction()).target(clean, time, noise)
    torch.testing.assert_close(v, cos * noise - sin * clean)
    torch.testing.assert_close(_objective(CosinePath()).target(clean, time, noise), v * math.pi / 2)  # flow = v · π/2


@pytest.mark.parametrize(("law", "median", "mean"), [
    (Uniform(), 0.5, 0.5),
    (LogitNormal(mean=0.0, std=1.0), 0.5, 0.5),
    (LogitNormal(mean=1.0, std=0.5), 1 / (1 + math.exp(-1)), None),
    (Shifted(law=Uniform(), shift=5.0), 5 / 6, 5 / 4 * (1 - math.log(5) / 4)),
    (Shifted(law=LogitNormal(), shift=3.0), 3 / 4, None),
])  # fmt: skip
def test_laws_have_their_quantiles_and_share_a_time_over_a_video(law, median, mean):
    time = law.sample(40_000, 3, CPU, torch.Generator().manual_seed(0))
    assert time.shape == (40_000, 3)
    assert (time[:, :1] == time).all()
    assert time.min() >= 0
    assert time.max() <= 1
    assert time.median().item() == pytest.approx(median, abs=0.01)
    if mean is not None:
        assert time.mean().item() == pytest.approx(mean, abs=0.01)


def test_logit_normal_quantiles_follow_mean_and_std():
    time = LogitNormal(mean=-0.5, std=2.0).sample(100_000, 1, CPU, torch.Generator().manual_seed(0))
    logit = torch.logit(time)
    assert logit.mean().item() == pytest.approx(-0.5, abs=0.03)
    assert logit.std().item() == pytest.approx(2.0, abs=0.03)


def test_per_frame_times_differ_and_one_generator_gives_one_draw():
    time = Uniform(per_frame=True).sample(4, 5, CPU, torch.Generator().manual_seed(0))
    assert time.unique().numel() == 20
    assert torch.equal(time, Uniform(per_frame=True).sample(4, 5, CPU, torch.Generator().manual_seed(0)))


def test_shift_formula_keeps_the_ends_and_is_undone_by_its_inverse():
    assert [shift_time(t, 5.0) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.0, 5 / 6, 1.0])
    time = torch.linspace(0, 1, 11)
    torch.testing.assert_close(shift_time(shift_time(time, 7.0), 1 / 7.0), time)


def test_context_prefixes_come_at_their_rate_with_uniform_lengths():
    objective = _objective(context_rate=0.3, max_context_frames=4)
    time, frame_mask = objective.sample_time(30_000, 8, device=CPU, generator=torch.Generator().manual_seed(0))
    length = (~frame_mask).sum(dim=1)
    shares = torch.bincount(length, minlength=6)[:6] / len(length)
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.075, 0.075, 0.075, 0.075, 0.0]), atol=0.01, rtol=0)
    assert (time[~frame_mask] == 0).all()
    assert (time[frame_mask] > 0).all()
    assert (frame_mask.int().diff(dim=1) >= 0).all()  # a prefix: once scored, scored to the end


@pytest.mark.parametrize("num_frames", [1, 2, 3])
def test_context_never_fills_the_video(num_frames):
    objective = _objective(context_rate=1.0, max_context_frames=9)
    _, frame_mask = objective.sample_time(500, num_frames, device=CPU)
    assert frame_mask.any(dim=1).all()
    assert (~frame_mask).sum(dim=1).max() == num_frames - 1


def test_min_snr_has_the_papers_values_on_a_variance_preserving_path():
    snr = torch.tensor([0.1, 1.0, 4.0, 5.0, 20.0, 100.0])
    time = torch.atan(snr.rsqrt()) * 2 / math.pi
    coefficients = CosinePath().coefficients(time)
    weight = MinSNR(gamma=5.0)
    least = snr.clamp(max=5)
    torch.testing.assert_close(weight(coefficients, CleanPrediction()), least, rtol=1e-4, atol=0)
    torch.testing.assert_close(weight(coefficients, EpsPrediction()), least / snr, rtol=1e-4, atol=0)
    torch.testing.assert_close(weight(coefficients, VPrediction()), least / (snr + 1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=_name)
def test_min_snr_scores_the_same_mistake_alike_for_every_kind(path):
    clean, noise = _pair(2, 3, 4, 5, 5)
    guess = clean + 0.3 * _pair(2, 3, 4, 5, 5, seed=1)[0]
    time = torch.tensor([[0.1, 0.4, 0.7, 0.9]]).repeat(2, 1)
    losses = []
    for kind in KINDS:
        objective = _objective(path, kind, weight=MinSNR(gamma=5.0))
        noisy = objective.corrupt(clean, time, noise)
        sigma = objective.renoise(Estimate(torch.zeros_like(clean), torch.ones_like(clean)), time)
        alpha = objective.renoise(Estimate(torch.ones_like(clean), torch.zeros_like(clean)), time)
        prediction = objective.target(guess, time, (noisy - alpha * guess) / sigma)
        losses.append(objective.loss(prediction, clean, noise, time, torch.ones(2, 4, dtype=torch.bool)))
    for other in losses[1:]:
        torch.testing.assert_close(other, losses[0], rtol=1e-3, atol=0)


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_min_snr_is_finite_at_the_ends(kind):
    for path in PATHS:
        weight = MinSNR(gamma=5.0)(path.coefficients(torch.tensor([0.0, 1.0])), kind)
        assert torch.isfinite(weight).all()
        if isinstance(kind, EpsPrediction):
            torch.testing.assert_close(weight, torch.tensor([0.0, 1.0]), atol=1e-3, rtol=1e-3)


def test_loss_is_a_mean_over_the_scored_frames_of_each_video():
    clean, noise = _pair(3, 2, 4, 3, 3)
    time = torch.full((3, 4), 0.5)
    mask = torch.tensor([[True] * 4, [False, False, True, True], [False] * 4])
    prediction = (noise - clean) + torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None]
    loss = _objective().loss(prediction, clean, noise, time, mask)
    torch.testing.assert_close(loss, torch.tensor([30 / 4, 25 / 2, 0.0]))
    spoiled = prediction.clone()
    spoiled[1, :, :2] = 1e6  # context frames
    torch.testing.assert_close(_objective().loss(spoiled, clean, noise, time, mask)[1], loss[1])
    prediction.requires_grad_()
    _objective().loss(prediction, clean, noise, time, mask).sum().backward()
    assert (prediction.grad[1, :, :2] == 0).all()
    assert (prediction.grad[1, :, 2:] != 0).any()


@pytest.mark.parametrize(("make", "words"), [
    (lambda: _objective(context_rate=1.5), "context_rate=1.5"),
    (lambda: _objective(context_rate=0.5), "max_context_frames"),
    (lambda: MinSNR(gamma=0.0), "gamma=0.0"),
    (lambda: Shifted(law=Uniform(), shift=0.0), "shift=0.0"),
    (lambda: LogitNormal(std=0.0), "std=0.0"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_objective_file_builds_and_takes_overrides(file):
    cfg = OmegaConf.merge(OmegaConf.load(file), OmegaConf.from_dotlist(["times.shift=3"]))
    weight = {"weight": {"_target_": "longtake.objectives.MinSNR", "gamma": 2.0}}
    objective = instantiate(OmegaConf.merge(cfg, weight), _convert_="all")
    assert objective.times.shift == 3
    assert objective.weight.gamma == 2
    clean, noise = _pair(1, 2, 3, 2, 2)
    time, mask = objective.sample_time(1, 3, device=CPU)
    target = objective.target(clean, time, noise)
    assert objective.loss(target, clean, noise, time, mask).item() == 0
