"""What every sampler must do. Axes: b batch, c channels, f frames, h height, w width."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from longtake.objectives.paths import LinearPath, Path
from longtake.samplers.interfaces import Sampler
from longtake.testing.inputs import battery, furthest, require, require_tensor
from networks.interfaces import Estimate

MEAN = 0.7


class PointMass:
    """The true denoiser of data that is MEAN everywhere: whatever the noise, a sampler must land there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[Tensor, float]] = []

    def __call__(self, noisy: Tensor, time: Tensor, level: float) -> Estimate:
        """The estimate whose clean part is known; at time 0 it is the frame itself."""
        found = tuple(time.shape) if isinstance(time, Tensor) else time
        require(
            isinstance(time, Tensor) and time.ndim == 2, f"denoise is given the time {found}: it must be a tensor b f"
        )
        self.calls.append((time.clone(), level))
        alpha, sigma = self.path.coefficients(time[:, None, :, None, None].double())[:2]
        clean = torch.where(sigma == 0, noisy.double(), torch.full_like(noisy, MEAN, dtype=torch.float64))
        return Estimate(clean.float(), ((noisy - alpha * clean) / sigma.clamp(min=1e-12)).float())


@battery
def check_sampler(
    make: Callable[[], Sampler], *, paths: Sequence[Path] = (LinearPath(),), tolerance: float = 0.03
) -> None:
    """Runs a sampler of `longtake.samplers.interfaces.Sampler` through every rule.

    Args:
        make: builds the sampler, with steps enough to arrive: some thirty on a straight path.
        paths: those that it is made for.
        tolerance: how near to the data it must come.

    Raises:
        AssertionError: for the first rule that is broken, in one sentence.
    """
    noise = torch.randn(2, 3, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    is_built = hasattr(make, "num_inference_steps") and not isinstance(make, type)
    require(not is_built, f"give what builds the sampler, such as `lambda: {type(make).__name__}(…)`, not a built one")
    for path in paths:
        _arrives(make(), noise, path, tolerance)
        _leaves_what_is_given(make(), noise, path, tolerance)


def _arrives(sampler: Sampler, noise: Tensor, path: Path, tolerance: float) -> None:
    """The true denoiser leads to the data; every step is told; noise is left as it is, and decides the video."""
    name, kept, denoise, told = type(path).__name__, noise.clone(), PointMass(path), []
    video = sampler(denoise, noise, path=path, on_step=lambda done, level, estimate: told.append((done, level)))
    require_tensor(video, "the sampler")
    require(
        video.shape == noise.shape, f"noise of {tuple(noise.shape)} becomes {tuple(video.shape)}: both must be alike"
    )
    off = furthest(video, torch.full_like(video, MEAN))
    require(off < tolerance, f"on {name} the true denoiser of {MEAN} leads to pixels {off:.2g} away from it")
    require(torch.equal(noise, kept), "the sampler changes the noise in place")
    steps = sampler.num_inference_steps
    require(
        [done for done, _ in told] == list(range(1, steps + 1)),
        f"on_step must be called after each of {steps} steps with the number of steps done; it got "
        f"{[done for done, _ in told][:5]}…",
    )
    levels = [level for _, level in denoise.calls]
    require(
        all(0 <= level <= 1 for level in levels),
        f"denoise is called at level {max(levels, key=abs):.3g}: not in [0, 1]",
    )


def _leaves_what_is_given(sampler: Sampler, noise: Tensor, path: Path, tolerance: float) -> None:
    """Frames that are given stay to the bit, at time 0; the others arrive."""
    mask = torch.zeros(len(noise), noise.shape[2], dtype=torch.bool)
    mask[:, :2] = True
    context = torch.linspace(-1, 1, noise.numel()).view(noise.shape)
    denoise = PointMass(path)
    video = sampler(denoise, noise, path=path, context_mask=mask, context=context)
    require(torch.equal(video[:, :, :2], context[:, :, :2]), "frames that are given do not stay as they are")
    off = furthest(video[:, :, 2:], torch.full_like(video[:, :, 2:], MEAN))
    require(off < tolerance, f"beside frames that are given, the true denoiser leads to pixels {off:.2g} away")
    clean = all(bool((time.expand(mask.shape)[mask] == 0).all()) for time, _ in denoise.calls)
    require(clean, "frames that are given are denoised at a time other than 0")
