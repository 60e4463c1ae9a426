"""Long videos window by window that never lose sight of their first frames."""

from typing import Literal, get_args

from longtake.rollouts.plan import CanvasPlan, consecutive
from longtake.rollouts.rollout import Rollout
from networks.ranges import Size

AnchorPlace = Literal["adjacent", "canvas"]


class Anchored(Rollout):
    """`rollout=anchored`: autoregressive, with the video's first clean frames before the context of every window.

    A window is [anchor, last clean frames, new frames]; anchor and context stand at time 0, unchanged by the sampler.
    Source: StreamingT2V (arXiv 2403.14773), whose trained appearance module embeds an anchor frame and whose
    conditional attention reads the last 8 of a window of 16, the share that is our default. Anchor frames as clean
    context are our choice: they need no weights but those that continue from clean frames.
    """

    def __init__(
        self, *, window_frames: Size, context_frames: Size, anchor_frames: Size, anchor_place: AnchorPlace
    ) -> None:
        """Sets the sizes, in latent frames.

        Args:
            window_frames: latent frames at once, anchor and context included.
            context_frames: last clean latent frames of the window before.
            anchor_frames: first clean latent frames of the video.
            anchor_place: the frame index that anchors are given in later windows: "adjacent" as if they came right
                before the context, so that distances stay within those of training, or "canvas", their own.

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

    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """Windows, each with the first frames of the video and the last ones of the window before it."""
        canvases = [CanvasPlan(consecutive(0, min(self.window_frames, num_latents)))]
        clean = self.anchor_frames + self.context_frames
        for new in range(self.window_frames, num_latents, self.window_frames - clean):
            start = new - self.context_frames
            end = min(start + self.window_frames - self.anchor_frames, num_latents)
            frames = consecutive(0, self.anchor_frames) + consecutive(start, end)
            adjacent = consecutive(start - self.anchor_frames, end)
            positions = adjacent if self.anchor_place == "adjacent" else None
            canvases.append(CanvasPlan(frames, known=consecutive(0, clean), positions=positions))
        return tuple(canvases)
