"""Windows of a canvas, merged at every step: as predictions (Gen-L-Video), or in self-attention (FreeNoise, FreeLong).

Axes: b batch, c channels, f frames of the canvas, k windows, j frames of a window, h height, w width (latents).
Inside self-attention: a heads, n tokens of the canvas, s tokens of a frame, d width of a head.
"""

from typing import Literal, get_args

import torch
from einops import rearrange, repeat
from torch import Tensor

from longtake.rollouts.interfaces import Predict, Wrap
from networks.chunks import call_sizes, cut, cut_rows, paste
from networks.interfaces import AttentionOverride, Condition, TokenGrid
from networks.parts import Parts, Span, shares_of
from networks.processes import ALONE, Processes

Profile = Literal["uniform", "triangular"]


class SlidingWindows:
    """A network that sees a canvas as overlapping windows and returns the weighted average of its predictions.

    Samplers and guidance are linear in the prediction, and all windows of a step cut the same canvas: so averaging
    predictions here is averaging the windows' next steps, as MultiDiffusion and Gen-L-Video do. Windows keep their
    places on the canvas, as VIN's chunks and the autoregressive windows do (our choice: one condition for all).
    """

    def __init__(self, *, window_frames: int, overlap_frames: int, profile: Profile, windows_per_call: int) -> None:
        """Sets the sizes, in latent frames.

        Args:
            window_frames: latent frames of a window.
            overlap_frames: latent frames that neighbouring windows share.
            profile: weights within a window before they are made to sum to 1 on every frame: "uniform" is the plain
                mean, "triangular" 1, 2, … 2, 1.
            windows_per_call: how many windows are denoised at once; 0 for all.

        Raises:
            ValueError: if the overlap fills the window, or the profile is unknown.
        """
        if not 0 <= overlap_frames < window_frames:
            raise ValueError(
                f"rollout.overlap_frames={overlap_frames} must be at least 0 and less than "
                f"rollout.window_frames={window_frames}"
            )
        if profile not in get_args(Profile):
            raise ValueError(f"rollout.profile={profile!r} is unknown: use {' or '.join(get_args(Profile))}")
        if windows_per_call < 0:
            raise ValueError(f"rollout.windows_per_call={windows_per_call} must be at least 1, or 0 for all at once")
        self.window_frames = window_frames
        self.overlap_frames = overlap_frames
        self.profile = profile
        self.windows_per_call = windows_per_call
        self.processes = ALONE

    def spread(self, processes: Processes) -> None:
        """Shares the windows of a canvas out among processes, from the next canvas on.

        Args:
            processes: those that share the work.
        """
        self.processes = processes

    def frame_parts(self, num_frames: int) -> Parts | None:
        """The frames of a canvas of so many that each process needs; None: each needs all."""
        size = min(self.window_frames, num_frames)
        return shares_of(self.processes, [Span(start, start + size) for start in self.starts(num_frames)])

    def starts(self, num_frames: int) -> list[int]:
        """The first frame of each window of a canvas; the last window is flush with the end."""
        last = max(num_frames - self.window_frames, 0)
        return [*range(0, last, self.window_frames - self.overlap_frames), last]

    def plan(self, num_frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Canvas frames and weights of every window, k j each; weights sum to 1 on every frame.

        The last window is flush with the end: all are full size. A canvas of at most one window is one window.
        """
        size = min(self.window_frames, num_frames)
        starts = torch.tensor(self.starts(num_frames), device=device)
        slots = torch.arange(size, device=device)
        frames = starts.unsqueeze(1) + slots
        shape = torch.minimum(slots + 1, size - slots) if self.profile == "triangular" else torch.ones_like(slots)
        weights = shape.float().expand_as(frames)
        total = torch.zeros(num_frames, device=device).index_add(0, frames.flatten(), weights.flatten())
        return frames, weights / total[frames]

    def __call__(self, network: Predict) -> Predict:
        """The network for a canvas of any length; on at most one window it is the given network's own call."""

        def merged(noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
            parts = None if condition.part is None else condition.part.parts
            num_frames, first = (noisy.shape[2], 0) if parts is None else (parts.num_frames, parts.own.first)
            if num_frames <= self.window_frames:
                return network(noisy, time, condition)
            frames, weights = self.plan(num_frames, noisy.device)
            own = self.processes.share(len(frames))
            frames, weights = frames[own] - first, weights[own]
            sizes = call_sizes(len(frames), self.windows_per_call)
            canvas = torch.zeros_like(noisy, dtype=torch.float32)
            for part, shares in zip(frames.split(sizes), weights.split(sizes), strict=True):
                prediction = network(cut(noisy, part), cut_rows(time, part), condition.fold(part))
                canvas = paste(canvas, prediction.float(), part, repeat(shares, "k j -> b k j", b=len(noisy)))
            return self.processes.sum(canvas)[0] if parts is None else parts.add_up(canvas)

        return merged


def inside_attention(attention_override: AttentionOverride, window_frames: int) -> Wrap:
    """A network whose self-attention is replaced; on at most one window it is the given network's own call.

    Args:
        attention_override: what takes the place of every self-attention.
        window_frames: latent frames of a window.

    Returns:
        A function from a network's call to the changed one.

    Raises:
        ValueError: when called with a network that attends to memory.
    """

    def wrap(network: Predict) -> Predict:
        def mixed(noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
            if condition.memory is not None:
                raise ValueError(
                    "these weights attend to memory, for which rollout=free_noise and spectral_blending have no place: "
                    "use rollout=segmentwise, or weights of network=dit or network=vin"
                )
            if noisy.shape[2] <= window_frames:
                return network(noisy, time, condition)
            return network(noisy, time, condition._replace(attention_override=attention_override))

        return mixed

    return wrap


def window_ends(window_frames: int, num_frames: int) -> tuple[int, ...]:
    """Frames of a canvas at which windows of attention follow each other."""
    return tuple(range(window_frames, num_frames, window_frames))


def token_windows(tokens: Tensor, grid: TokenGrid, size: int, stride: int) -> Tensor:
    """Tokens b a n d in windows of `size` frames that begin every `stride` frames: (b a) k (j s) d.

    Views of one another, so that overlaps are not copied. Frames behind the last whole window are left out.
    """
    frames = rearrange(tokens.contiguous(), "b a (f s) d -> (b a) f s d", f=grid.frames).unfold(1, size, stride)
    return rearrange(frames, "m k s d j -> m k (j s) d")
