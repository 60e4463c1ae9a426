"""Long videos window by window that never lose sight of their first frames.

Axes: b batch, c channels, f frames, h height, w width (latents).
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from longtake.rollouts.autoregressive import in_front
from longtake.rollouts.interfaces import Canvas, Generate
from networks.ranges import Size

AnchorPlace = Literal["adjacent", "canvas"]


class Anchored:
    """`rollout=anchored`: autoregressive, with the video's first clean frames before the context of every window.

    A window is [anchor, last clean frames, new frames]; anchor and context stand at time 0, unchanged by the sampler.
    Source: StreamingT2V (arXiv 2403.14773), VIN §8.3, whose trained appearance module embeds an anchor frame and whose
    conditional attention reads the last 8 of a window of 16, the share that is our default. Anchor frames as clean
    context are our choice: they need no weights but those that continue from clean frames.
    """

    network_part = "backbone"

    def __init__(
        self, *, window_frames: Size, context_frames: Size, anchor_frames: Size, anchor_place: AnchorPlace
    ) -> None:
        """window_frames: latent frames at once, anchor and context included; context_frames: last clean ones.

        anchor_frames: first clean ones. anchor_place: the frame index that anchors are given in later windows,
        "adjacent" as if they came right before the context, so that distances stay within those of training, or
        "canvas", their own.

        Raises:
            ValueError: if anchor and context fill the window, or the place is unknown.
        """
        if min(anchor_frames, context_frames) < 1 or anchor_frames + context_frames >= window_frames:
            raise ValueError(
                f"rollout.anchor_frames={anchor_frames} and rollout.context_frames={context_frames} must be at least 1 "
                f"each and leave room for new frames in rollout.window_frames={window_frames}"
            )
        if anchor_place not in get_args(AnchorPlace):
            raise ValueError(f"rollout.anchor_place={anchor_place!r} is unknown: use adjacent or canvas")
        self.window_frames = window_frames
        self.context_frames = context_frames
        self.anchor_frames = anchor_frames
        self.anchor_place = anchor_place

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Fills the canvas: b c f h w."""
        noise, condition = canvas
        assert condition.frame_mask is None, "a canvas to be filled holds all its frames"
        num_frames, first = noise.shape[2], self.window_frames
        video = generate(noise[:, :, :first], condition.frames(slice(first)), None)
        anchor = video[:, :, : self.anchor_frames]
        while video.shape[2] < num_frames:
            start = video.shape[2] - self.context_frames
            end = min(start + self.window_frames - self.anchor_frames, num_frames)
            known = torch.cat([anchor, video[:, :, start:]], dim=2)
            window = torch.cat([noise[:, :, : self.anchor_frames], noise[:, :, start:end]], dim=2)
            seen = condition.frames(self._frames(start, end, noise.device))
            seen = seen._replace(frame_index=self._places(condition.frame_index, start, end))
            new = generate(window, seen, in_front(known, window))[:, :, known.shape[2] :]
            video = torch.cat([video, new], dim=2)
        return video

    def _frames(self, start: int, end: int, device: torch.device) -> Tensor:
        """Canvas frames of anchor, context and new frames: j."""
        return torch.cat([torch.arange(self.anchor_frames), torch.arange(start, end)]).to(device)

    def _places(self, frame_index: Tensor, start: int, end: int) -> Tensor:
        """Places of anchor, context and new frames: b j; frame_index: b f, the canvas's."""
        if self.anchor_place == "adjacent":
            return frame_index[:, start - self.anchor_frames : end]
        return frame_index[:, self._frames(start, end, frame_index.device)]
