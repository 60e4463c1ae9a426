"""Long videos whose slow part is predicted over all frames and whose fast part in windows.

Axes: b batch, c channels, f frames, h height, w width (latents).
"""

import torch
from einops import rearrange
from torch import Tensor

from lightning_modules.rollouts.interfaces import Canvas, Generate
from lightning_modules.rollouts.merging import SlidingWindows
from networks.interfaces import Condition, VideoNetwork


class SpectralBlending:
    """`rollout=spectral_blending`: at every step, low frequencies of the full prediction, high ones of the windows'.

    Source: FreeLong (arXiv 2407.19918), which blends the outputs of global and local attention in each temporal
    attention of a UNet, by a Gaussian low-pass over frames, rows and columns. Blending the network's predictions
    instead, and windows in place of a band mask, are our choice: neither asks anything of the network's blocks. Each
    step costs one call over all frames and one of windows.
    """

    network_part = "backbone"

    def __init__(
        self,
        *,
        window_frames: int,
        overlap_frames: int,
        time_cutoff: float,
        space_cutoff: float,
        windows_per_call: int,
    ) -> None:
        """time_cutoff, space_cutoff: share of each band that the full prediction gives; see blend_spectra.

        The rest as in SlidingWindows.

        Raises:
            ValueError: if a cut-off lies outside [0, 1], or the windows make no sense.
        """
        for name, value in (("time_cutoff", time_cutoff), ("space_cutoff", space_cutoff)):
            if not 0 <= value <= 1:
                raise ValueError(
                    f"rollout.{name}={value} must lie in [0, 1]: 0 is windows alone, 1 passes every frequency"
                )
        self.windows = SlidingWindows(
            window_frames=window_frames,
            overlap_frames=overlap_frames,
            profile="triangular",
            windows_per_call=windows_per_call,
        )
        self.time_cutoff = time_cutoff
        self.space_cutoff = space_cutoff

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Fills the canvas: b c f h w."""
        return generate(canvas.noise, canvas.condition, None, wrap=self._blended)

    def _blended(self, network: VideoNetwork) -> VideoNetwork:
        windowed = self.windows(network)

        def blended(noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
            full = network(noisy, time, condition)
            if noisy.shape[2] <= self.windows.window_frames:
                return full
            return blend_spectra(
                full,
                windowed(noisy, time, condition),
                time_cutoff=self.time_cutoff,
                space_cutoff=self.space_cutoff,
            )

        return blended


def blend_spectra(low: Tensor, high: Tensor, *, time_cutoff: float, space_cutoff: float) -> Tensor:
    """Low frequencies of one canvas with the high ones of another, b c f h w each, in float32.

    A Gaussian low-pass on each axis, of width cutoff / (1 - cutoff) where 1 is the highest frequency: 0.2 is FreeLong's
    0.25, 1 passes everything and 0 nothing, the mean included.
    """
    if 0 in (time_cutoff, space_cutoff):
        return high.float()
    if time_cutoff == space_cutoff == 1:
        return low.float()
    num_frames, height, width = low.shape[2:]
    device = low.device
    passed = rearrange(_pass(torch.fft.fftfreq(num_frames, device=device), time_cutoff), "f -> f 1 1")
    passed = passed * rearrange(_pass(torch.fft.fftfreq(height, device=device), space_cutoff), "h -> h 1")
    passed = passed * _pass(torch.fft.rfftfreq(width, device=device), space_cutoff)
    # low's low + high's high = high + the low frequencies of their difference: one transform instead of two.
    spectrum = torch.fft.rfftn(low.float() - high.float(), dim=(2, 3, 4))
    return high.float() + torch.fft.irfftn(spectrum * passed, s=(num_frames, height, width), dim=(2, 3, 4))


def _pass(frequencies: Tensor, cutoff: float) -> Tensor:
    """The share of each frequency, in cycles a sample, that the low-pass lets through."""
    if cutoff == 1:
        return torch.ones_like(frequencies)
    width = cutoff / (1 - cutoff)
    return torch.exp(-0.5 * (2 * frequencies / width).square())
