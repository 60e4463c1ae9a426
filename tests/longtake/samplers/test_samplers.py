"""Samplers by closed forms: with the true denoiser of known data they must land on that data."""

from pathlib import Path as FilePath

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from longtake.objectives import CosinePath, LinearPath
from longtake.samplers import DDIM, ClassifierFreeGuidance, DiffusersSolver, Euler, Heun, NestedGuidance
from longtake.samplers.solvers import time_levels
from networks.interfaces import Estimate

CONF = FilePath(__file__).parents[3] / "conf" / "sampler"
MEAN, STD = 0.7, 0.4
LINEAR, COSINE = LinearPath(), CosinePath()
DIFFUSERS = ["FlowMatchEulerDiscreteScheduler", "UniPCMultistepScheduler", "DPMSolverMultistepScheduler"]


class Gaussian:
    """The true denoiser of data N(MEAN, std²): E[clean | noisy], by Gaussian conditioning, frame by frame."""

    def __init__(self, path, std=STD):
        self.path, self.std, self.calls = path, std, []

    def __call__(self, noisy, time, level):
        self.calls.append((time.clone(), level))
        alpha, sigma = self.path.coefficients(time[:, None, :, None, None].double())[:2]
        gain = alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2).clamp(min=1e-12)
        clean = torch.where(sigma == 0, noisy, MEAN + gain * (noisy - alpha * MEAN))
        return Estimate(clean.float(), ((noisy - alpha * clean) / sigma.clamp(min=1e-12)).float())


def _solver(name, steps, shift=1.0):
    if name in DIFFUSERS:
        return DiffusersSolver(scheduler=name, num_inference_steps=steps, shift=shift, settings={})
    return {"euler": Euler, "heun": Heun, "ddim": DDIM}[name](num_inference_steps=steps, shift=shift)


def _noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


CASES = [(name, path) for name in ("euler", "heun", "ddim") for path in (LINEAR, COSINE)]
CASES += [(name, LINEAR) for name in DIFFUSERS]
IDS = [f"{name}-{type(path).__name__}" for name, path in CASES]


@pytest.mark.parametrize("shift", [1.0, 5.0])
@pytest.mark.parametrize(("name", "path"), CASES, ids=IDS)
def test_a_point_mass_is_found(name, path, shift):
    steps = 30 if path is LINEAR else 200  # curved paths to a point need finer Euler steps
    video = _solver(name, steps, shift)(Gaussian(path, std=0.0), _noise(2, 3, 4, 5, 5), path=path)
    torch.testing.assert_close(video, torch.full_like(video, MEAN), atol=0.03 if path is COSINE else 2e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [1.0, 5.0])
@pytest.mark.parametrize(("name", "path"), CASES, ids=IDS)
def test_a_gaussian_is_found_sample_by_sample(name, path, shift):
    # The deterministic flow of a Gaussian carries noise z to MEAN + STD · z exactly.
    noise = _noise(2, 3, 4, 8, 8)
    video = _solver(name, 400 if shift > 1 else 200, shift)(Gaussian(path), noise, path=path)
    torch.testing.assert_close(video, MEAN + STD * noise, atol=0.05, rtol=0)
    assert video.mean().item() == pytest.approx(MEAN + STD * noise.mean().item(), abs=0.01)
    assert video.std().item() == pytest.approx(STD * noise.std().item(), abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("path", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_heun_is_of_second_order_and_euler_of_first(path):
    noise = _noise(1, 1, 2, 8, 8)
    # Down to 0.2 only: the last step to time 0 is an Euler step by design, and a fixed end shows the order.
    reference = Heun(num_inference_steps=2000, last_time=0.2)(Gaussian(path), noise, path=path)

    def error(solver, steps):
        video = solver(num_inference_steps=steps, last_time=0.2)(Gaussian(path), noise, path=path)
        return (video - reference).abs().max().item()

    assert error(Euler, 10) / error(Euler, 20) == pytest.approx(2, rel=0.3)
    assert error(Heun, 10) / error(Heun, 20) == pytest.approx(4, rel=0.3)
    assert error(Heun, 10) < 0.25 * error(Euler, 20)  # at equal calls


@pytest.mark.parametrize("name", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler"])
def test_multistep_schedulers_beat_euler_at_equal_calls(name):
    noise = _noise(1, 1, 2, 8, 8)
    exact = MEAN + STD * noise
    error = {n: (_solver(n, 15)(Gaussian(LINEAR), noise, path=LINEAR) - exact).abs().max() for n in ("euler", name)}
    assert error[name] < 0.5 * error["euler"]


def test_on_the_linear_path_euler_ddim_and_diffusers_euler_are_one():
    noise = _noise(1, 2, 3, 4, 4)
    videos = [_solver(n, 12, 3.0)(Gaussian(LINEAR), noise, path=LINEAR) for n in ("euler", "ddim", DIFFUSERS[0])]
    torch.testing.assert_close(videos[0], videos[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(videos[0], videos[2], atol=1e-5, rtol=0)


@pytest.mark.parametrize("path", [LINEAR, COSINE], ids=["linear", "cosine"])
def test_ancestral_ddim_keeps_the_distribution_and_follows_its_generator(path):
    noise = _noise(4, 3, 4, 16, 16)
    solver = DDIM(num_inference_steps=200, eta=1.0)
    videos = [
        solver(Gaussian(path), noise, path=path, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(videos[0], videos[1])
    assert not torch.allclose(videos[0], videos[2], atol=0.1)
    assert videos[0].mean().item() == pytest.approx(MEAN, abs=0.02)
    assert videos[0].std().item() == pytest.approx(STD, abs=0.02)


def test_stochastic_dpm_solver_follows_its_generator():
    sampler = DiffusersSolver(
        scheduler=DIFFUSERS[2], num_inference_steps=20, settings={"algorithm_type": "sde-dpmsolver++"}
    )
    noise = _noise(1, 1, 2, 8, 8)
    videos = [
        sampler(Gaussian(LINEAR), noise, path=LINEAR, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    ]
    assert torch.equal(videos[0], videos[1])
    assert not torch.allclose(videos[0], videos[2], atol=0.1)


@pytest.mark.parametrize(("name", "path"), CASES, ids=IDS)
def test_context_frames_stay_bit_equal_at_time_0(name, path):
    noise, context = _noise(2, 3, 5, 4, 4), _noise(2, 3, 5, 4, 4, seed=1)
    mask = torch.tensor([[True, True, False, False, False], [False, False, True, False, False]])
    seen = []
    denoise = Gaussian(path)

    def watched(noisy, time, level):
        seen.append(noisy.clone())
        return denoise(noisy, time, level)

    video = _solver(name, 8, 3.0)(watched, noise, path=path, context_mask=mask, context=context)
    where = mask[:, None, :, None, None].expand_as(video)
    assert all(torch.equal(noisy[where], context[where]) for noisy in [*seen, video])
    for time, level in denoise.calls:
        assert (time[mask] == 0).all()
        torch.testing.assert_close(time[~mask], torch.full_like(time[~mask], level))
    free = _solver(name, 8, 3.0)(Gaussian(path), noise, path=path)
    torch.testing.assert_close(video[~where], free[~where], atol=1e-5, rtol=0)  # a frame-wise denoiser: no leak


def test_context_needs_its_mask_and_the_canvas_shape():
    noise = _noise(1, 1, 3, 2, 2)
    with pytest.raises(ValueError, match="together"):
        Euler(num_inference_steps=2)(Gaussian(LINEAR), noise, path=LINEAR, context=noise)
    mask = torch.ones(1, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="shapes"):
        Euler(num_inference_steps=2)(Gaussian(LINEAR), noise, path=LINEAR, context_mask=mask, context=noise[:, :, :1])


def test_levels_fall_from_first_to_last_with_the_training_shift():
    assert time_levels(4, shift=1.0, first_time=1.0, last_time=0.0) == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert time_levels(2, shift=5.0, first_time=1.0, last_time=0.0) == pytest.approx([1, 5 / 6, 0])
    part = time_levels(7, shift=5.0, first_time=0.9, last_time=0.1)
    assert (part[0], part[-1]) == (0.9, 0.1)
    assert part == sorted(part, reverse=True)


@pytest.mark.parametrize("shift", [1.0, 5.0, 12.0])
@pytest.mark.parametrize("name", DIFFUSERS)
def test_the_schedulers_of_diffusers_run_on_our_levels(name, shift):
    denoise = Gaussian(LINEAR)
    _solver(name, 50, shift)(denoise, _noise(1, 1, 1, 2, 2), path=LINEAR)
    ours = time_levels(50, shift=shift, first_time=1.0, last_time=0.0)[:-1]
    assert [level for _, level in denoise.calls] == pytest.approx(ours, abs=2e-3)


@pytest.mark.parametrize(("name", "calls"), [("euler", 10), ("ddim", 10), ("heun", 19), *((n, 10) for n in DIFFUSERS)])
def test_calls_and_reports_are_counted(name, calls):
    denoise, steps = Gaussian(LINEAR), []
    _solver(name, 10)(
        denoise, _noise(1, 1, 1, 2, 2), path=LINEAR, on_step=lambda done, level, estimate: steps.append((done, level))
    )
    assert len(denoise.calls) == calls
    assert [done for done, _ in steps] == list(range(1, 11))
    assert [level for _, level in steps] == pytest.approx([1 - i / 10 for i in range(10)], abs=2e-3)


def test_stopping_early_and_going_on_is_one_run():
    noise = _noise(1, 1, 2, 4, 4)
    half = Euler(num_inference_steps=5, last_time=0.5)(Gaussian(LINEAR), noise, path=LINEAR)
    rest = Euler(num_inference_steps=5, first_time=0.5)(Gaussian(LINEAR), half, path=LINEAR)
    torch.testing.assert_close(rest, Euler(num_inference_steps=10)(Gaussian(LINEAR), noise, path=LINEAR))


@pytest.mark.parametrize("name", DIFFUSERS)
def test_the_schedulers_of_diffusers_refuse_other_paths(name):
    with pytest.raises(ValueError, match="linear path"):
        _solver(name, 4)(Gaussian(COSINE), _noise(1, 1, 1, 2, 2), path=COSINE)


@pytest.mark.parametrize(("make", "words"), [
    (lambda: Euler(num_inference_steps=0), "num_inference_steps=0"),
    (lambda: Euler(num_inference_steps=4, first_time=0.2, last_time=0.3), "last_time=0.3"),
    (lambda: Heun(num_inference_steps=4, shift=0.0), "shift=0.0"),
    (lambda: DDIM(num_inference_steps=4, eta=2.0), "eta=2.0"),
    (lambda: DiffusersSolver(scheduler="DDPMScheduler", num_inference_steps=4, settings={}), "DDPMScheduler"),
    (lambda: ClassifierFreeGuidance(scale=2.0, interval=(0.8, 0.2)), "interval"),
])  # fmt: skip
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def _constant(value, calls):
    def denoise(noisy, time, level):
        calls.append(level)
        return Estimate(torch.full_like(noisy, value), torch.full_like(noisy, -value))

    return denoise


def _without(denoisers):
    return lambda *names: denoisers[names]


def test_guidance_goes_past_the_conditional_estimate_inside_its_interval_only():
    conditional, unconditional = [], []
    guided = ClassifierFreeGuidance(scale=3.0, interval=(0.2, 0.8))(
        _without({(): _constant(2.0, conditional), ("text",): _constant(1.0, unconditional)})
    )
    noisy = torch.zeros(1, 1, 2, 2, 2)
    clean = [
        guided(noisy, torch.full((1, 2), level), level).clean.unique().item() for level in (1.0, 0.8, 0.5, 0.2, 0.1)
    ]
    assert clean == [2, 4, 4, 4, 2]
    assert conditional == [1.0, 0.8, 0.5, 0.2, 0.1]
    assert unconditional == [0.8, 0.5, 0.2]


def test_guidance_of_scale_one_is_the_conditional_pass():
    conditional, unconditional = [], []
    guided = ClassifierFreeGuidance(scale=1.0)(
        _without({(): _constant(2.0, conditional), ("text",): _constant(1.0, unconditional)})
    )
    estimate = guided(torch.zeros(1, 1, 1, 2, 2), torch.ones(1, 1), 1.0)
    assert (estimate.clean == 2).all()
    assert (len(conditional), len(unconditional)) == (1, 0)


def test_text_and_memory_are_guided_apart():
    counts = {(): [], ("text",): [], ("memory", "text"): []}
    values = {(): 7.0, ("text",): 3.0, ("memory", "text"): 1.0}
    make = _without({names: _constant(values[names], calls) for names, calls in counts.items()})
    zeros, ones = torch.zeros(1, 1, 1, 2, 2), torch.ones(1, 1)
    guided = NestedGuidance(scales={"memory": 1.5, "text": 5.0}, intervals={"memory": (0.5, 1.0)})(make)
    assert guided(zeros, ones, 1.0).clean.unique().item() == 1 + 1.5 * (3 - 1) + 5 * (7 - 3)
    assert guided(zeros, ones, 0.2).clean.unique().item() == 1 + 1 * (3 - 1) + 5 * (7 - 3)
    assert [len(calls) for calls in counts.values()] == [2, 2, 1]
    once = NestedGuidance(scales={"memory": 1.0, "text": 1.0})(make)
    assert once(zeros, ones, 1.0).clean.unique().item() == 7
    assert [len(calls) for calls in counts.values()] == [3, 2, 1]


def test_passes_are_counted_of_what_can_be_there():
    guidance = NestedGuidance(scales={"memory": 1.5, "text": 5.0, "global_tokens": 1.0})
    assert guidance.most_passes() == 3
    assert guidance.most_passes({"text"}) == 2
    assert guidance.most_passes({"text", "memory", "global_tokens"}) == 1


def test_an_interval_of_no_scale_is_refused():
    with pytest.raises(ValueError, match="names memory, which has no scale: use text"):
        NestedGuidance(scales={"text": 2.0}, intervals={"memory": (0.0, 1.0)})


def test_a_guided_estimate_still_explains_the_noisy_video():
    noisy, time = _noise(1, 1, 1, 4, 4), torch.full((1, 1), 0.6)
    guided = ClassifierFreeGuidance(scale=4.0)(_without({(): Gaussian(LINEAR), ("text",): Gaussian(LINEAR, std=1.0)}))
    estimate = guided(noisy, time, 0.6)
    torch.testing.assert_close(0.4 * estimate.clean + 0.6 * estimate.noise, noisy, atol=1e-5, rtol=0)


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_sampler_file_builds_with_the_objectives_shift(file):
    if file.stem in ("pretrained", "cogvideox", "hunyuan"):
        pytest.skip("its shift is its folder's: tests/networks/pretrained/test_*_parity.py")
    cfg = OmegaConf.create({"objective": {"times": {"shift": 3.0}}, "sampler": OmegaConf.load(file)})
    sampler = instantiate(cfg.sampler, _convert_="all")
    assert sampler.shift == 3
    video = sampler(Gaussian(LINEAR), _noise(1, 1, 2, 4, 4), path=LINEAR)
    assert torch.isfinite(video).all()
