"""Long videos whose self-attention is slow over all frames and fast over near ones.

Axes: b batch, f frames, h rows, w columns (of tokens), a heads, n tokens, s tokens of a frame, d width of a head.
"""

import torch
from einops import rearrange
from torch import Tensor

from longtake.rollouts.interfaces import Predict
from longtake.rollouts.plan import CanvasPlan, consecutive
from longtake.rollouts.rollout import Rollout
from longtake.rollouts.sliding_windows import inside_attention, token_windows, window_ends
from networks.attention import scaled_dot_product
from networks.interfaces import TokenGrid
from networks.ranges import MaybeInfinite, Size


class SpectralBlending(Rollout):
    """`rollout=spectral_blending`: in every self-attention, low frequencies of the full one, high ones of a local one.

    Source: FreeLong (arXiv 2407.19918), there in the temporal attention of a UNet, whose largest resolution keeps the
    local branch alone: a DiT has one resolution, and blends in every block. The released code blends after
    the output projection; here before it, which is the same, since the projection is linear, one for both branches,
    and works on one token at a time as the filter does on one channel, and costs one projection instead of two.
    """

    replaces_attention = True

    def __init__(self, *, window_frames: Size, time_cutoff: MaybeInfinite, space_cutoff: MaybeInfinite) -> None:
        """Sets the window and the cut-offs.

        Args:
            window_frames: latent frames that the local branch sees.
            time_cutoff: see blend_spectra.
            space_cutoff: see blend_spectra.

        Raises:
            ValueError: if there is no window, or a cut-off is negative.
        """
        if window_frames < 1:
            raise ValueError(f"rollout.window_frames={window_frames} must be at least 1: use 10, a chunk")
        for name, value in (("time_cutoff", time_cutoff), ("space_cutoff", space_cutoff)):
            if not value >= 0:
                raise ValueError(
                    f"rollout.{name}={value} must be at least 0: 0 is the local part alone, .inf passes every frequency"
                )
        self.window_frames = window_frames
        self.time_cutoff = time_cutoff
        self.space_cutoff = space_cutoff

    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """One canvas."""
        return (CanvasPlan(consecutive(0, num_latents), joins=window_ends(self.window_frames, num_latents)),)

    def wrap(self, network: Predict) -> Predict:
        """The network with both branches in its self-attention."""
        return inside_attention(self.mix, self.window_frames)(network)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, grid: TokenGrid) -> Tensor:
        """Full and banded attention of the same queries, keys and values, blended; b a n d each."""
        full = scaled_dot_product(query, key, value, None)
        local = banded_attention(query, key, value, grid, self.window_frames)
        low, high = (
            rearrange(x, "b a (f h w) d -> b a d f h w", f=grid.frames, h=grid.rows, w=grid.columns)
            for x in (full, local)
        )
        blended = blend_spectra(low, high, time_cutoff=self.time_cutoff, space_cutoff=self.space_cutoff)
        return rearrange(blended, "b a d f h w -> b a (f h w) d").to(value.dtype)


def banded_attention(query: Tensor, key: Tensor, value: Tensor, grid: TokenGrid, window_frames: int) -> Tensor:
    """Attention of every frame to those at most half a window away; b a n d each.

    At both ends the band is shifted into the video, so that each frame sees as many (2 · (window_frames // 2) + 1, as
    far as there are). Frames with a band of their own are windows, the others see the first or the last band: no mask.
    """
    half = window_frames // 2
    size = 2 * half + 1
    if grid.frames <= size:
        return scaled_dot_product(query, key, value, None)
    per_frame = grid.rows * grid.columns
    side, band = half * per_frame, size * per_frame
    start = scaled_dot_product(query[:, :, :side], key[:, :, :band], value[:, :, :band], None)
    end = scaled_dot_product(query[:, :, query.shape[2] - side :], key[:, :, -band:], value[:, :, -band:], None)
    keys, values = (token_windows(x, grid, size, 1) for x in (key, value))
    queries = rearrange(query[:, :, side : query.shape[2] - side], "b a (f s) d -> (b a) f s d", s=per_frame)
    middle = rearrange(scaled_dot_product(queries, keys, values, None), "(b a) f s d -> b a (f s) d", b=len(query))
    return torch.cat([start, middle, end], dim=2)


def blend_spectra(low: Tensor, high: Tensor, *, time_cutoff: float, space_cutoff: float) -> Tensor:
    """Low frequencies of one tensor with the high ones of another, … f h w each, in float32.

    A Gaussian low-pass over all three axes, exp(-1/2 [(f / time_cutoff)² + (h / space_cutoff)² + (w / space_cutoff)²])
    where 1 is the highest frequency: infinity passes everything and 0 nothing, the mean included. Centred on the mean
    on odd sizes too, where coordinates from -1 in steps of 2/n lie half a step beside it (our choice).
    """
    if 0 in (time_cutoff, space_cutoff):
        return high.float()
    num_frames, height, width = low.shape[-3:]
    device = low.device
    passed = rearrange(_pass(torch.fft.fftfreq(num_frames, device=device), time_cutoff), "f -> f 1 1")
    passed = passed * rearrange(_pass(torch.fft.fftfreq(height, device=device), space_cutoff), "h -> h 1")
    passed = passed * _pass(torch.fft.rfftfreq(width, device=device), space_cutoff)
    # low's low + high's high = high + the low frequencies of their difference: one transform instead of two.
    high = high.float()
    spectrum = torch.fft.rfftn(low.float() - high, dim=(-3, -2, -1))
    return high + torch.fft.irfftn(spectrum * passed, s=(num_frames, height, width), dim=(-3, -2, -1))


def _pass(frequencies: Tensor, cutoff: float) -> Tensor:
    """The share of each frequency, in cycles a sample, that the low-pass lets through."""
    return torch.exp(-0.5 * (2 * frequencies / cutoff).square())
