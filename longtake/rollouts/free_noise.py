"""Long videos from one window's noise, repeated in shuffled order, with self-attention in sliding windows.

Axes: b batch, c channels, f frames, h height, w width (latents); a heads, n tokens, s tokens of a frame, d width of a
head, k windows, j frames of a window, m heads of all videos.
"""

import torch
from einops import rearrange
from torch import Tensor

from longtake.rollouts.interfaces import Predict
from longtake.rollouts.plan import CanvasPlan, consecutive
from longtake.rollouts.rollout import Rollout
from longtake.rollouts.sliding_windows import SlidingWindows, inside_attention, token_windows, window_ends
from networks.attention import scaled_dot_product
from networks.interfaces import TokenGrid
from networks.ranges import Size


class FreeNoise(Rollout):
    """`rollout=free_noise`: noise rescheduling, and windows fused with triangular weights in every self-attention.

    All else (text attention, feed-forward, norms, embeddings) runs once on the whole canvas.
    Source: FreeNoise (arXiv 2310.15169), there with windows of 16 at stride 4 in the temporal attention of a UNet.
    On a DiT of full attention a window holds its frames' spatial tokens too; the last window is flush with the end,
    as in diffusers. RoPE is relative, so places on the canvas give the attention that places in the window would.
    Meant for samplers that draw no fresh noise (the paper: DDIM, eta 0).
    """

    replaces_attention = True

    def __init__(self, *, window_frames: Size, stride_frames: Size) -> None:
        """Sets the sizes, in latent frames.

        Args:
            window_frames: latent frames of a window.
            stride_frames: latent frames from one window to the next; also the unit in which noise is shuffled.

        Raises:
            ValueError: if the window is not a whole number of strides.
        """
        if stride_frames < 1 or window_frames < 1 or window_frames % stride_frames:
            raise ValueError(
                f"rollout.stride_frames={stride_frames} must divide rollout.window_frames={window_frames}, so that "
                "repeated noise holds the whole first window: use 1, or another divisor"
            )
        self.window_frames = window_frames
        self.stride_frames = stride_frames
        self.windows = SlidingWindows(
            window_frames=window_frames,
            overlap_frames=window_frames - stride_frames,
            profile="triangular",
            windows_per_call=0,
        )

    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """One canvas; the noise is repeated at every window."""
        return (CanvasPlan(consecutive(0, num_latents), joins=window_ends(self.window_frames, num_latents)),)

    def prepare(self, noise: Tensor) -> Tensor:
        """Noise b c f h w, rescheduled."""
        return reschedule(noise, self.window_frames, self.stride_frames)

    def wrap(self, network: Predict) -> Predict:
        """The network with self-attention in windows."""
        return inside_attention(self.mix, self.window_frames)(network)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, grid: TokenGrid) -> Tensor:
        """Attention within windows, fused; b a n d each."""
        size = min(self.window_frames, grid.frames)
        per_window = size * grid.rows * grid.columns
        queries, keys, values = (token_windows(x, grid, size, self.stride_frames) for x in (query, key, value))
        windows = scaled_dot_product(queries, keys, values, None)
        if (grid.frames - size) % self.stride_frames:
            queries, keys, values = (x[:, :, -per_window:] for x in (query, key, value))
            last = scaled_dot_product(queries, keys, values, None)
            windows = torch.cat([windows, rearrange(last, "b a n d -> (b a) 1 n d")], dim=1)
        frames, weights = self.windows.plan(grid.frames, query.device)
        shares = rearrange(weights, "k j -> (k j) 1 1")
        windows = rearrange(windows, "m k (j s) d -> m (k j) s d", j=size)
        fused = torch.zeros(len(windows), grid.frames, *windows.shape[2:], device=query.device)
        fused = fused.index_add_(1, frames.flatten(), windows * shares)  # in float32, as the weights are
        return rearrange(fused, "(b a) f s d -> b a (f s) d", b=len(query)).to(value.dtype)


def reschedule(noise: Tensor, window_frames: int, shuffle_frames: int) -> Tensor:
    """The first window's noise again and again, each unit of frames shuffled anew from the unit one window before.

    noise: b c f h w, independent everywhere. The frames that are replaced choose the order: the ranks of independent
    normals are a uniform permutation, independent of the first window, and each video's own whatever else is made.
    """
    video = noise.clone()
    for start in range(window_frames, noise.shape[2], shuffle_frames):
        unit = noise[:, 0, start : start + shuffle_frames, 0, 0]
        order = start - window_frames + unit.argsort(dim=1)  # a shorter last unit shuffles what it needs
        index = rearrange(order, "b u -> b 1 u 1 1").expand(-1, noise.shape[1], -1, *noise.shape[3:])
        video[:, :, start : start + unit.shape[1]] = torch.gather(video, 2, index)
    return video
