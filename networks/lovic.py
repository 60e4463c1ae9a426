"""LoViC: a DiT that generates a segment with the compressed memory of others in its self-attention.

Axes: b batch, s segments of the context, f frames, h height, w width (latents); m context tokens of a segment, d width.
"""

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from networks.batches import mask_on_device, on_device
from networks.control import NAME, at_places, embed_control
from networks.flexformer import ContextCompressor
from networks.interfaces import Backbone, Condition, Context, ContextCache, Prediction, SegmentBatch, VideoNetwork
from networks.parts import Parts
from networks.processes import Processes
from networks.ranges import NotNegative
from networks.sequence import join_masks


class LoViCNetwork(VideoNetwork):
    """`network=lovic`, and `network=vin_lovic` where the window inside is VIN's.

    A canvas may hold clean frames (at time 0) of the segments that adjoin it; everything further away comes through
    the compressor. All places are taken relative to the canvas's first frame, so only distances matter.
    Source: LoViC (arXiv 2507.12952) for the context tokens in self-attention and the text inside them. The clean
    modulation of the memory, the gap at a cut and the learned null memory are our choice.
    """

    def __init__(
        self,
        *,
        window: VideoNetwork,
        compressor: ContextCompressor | None,
        shot_gap: NotNegative,
        low_resolution: bool,
    ) -> None:
        """Puts a window's network and a compressor together.

        Args:
            window: network that denoises a canvas.
            compressor: makes context tokens of finished segments; None: the network sees its window alone.
            shot_gap: latent frames by which a cut moves segments apart in time.
            low_resolution: beyond the paper, a branch beside the compressor: each context token also bears the mean of
                the patches around its place, embedded as the DiT embeds its own, which the DiT can read from the start.
                Source: PFP's (arXiv 2512.23851) low-resolution branch; mean and shared embedding are our choice.

        Raises:
            ValueError: if the compressor cuts a segment into other patches than the backbone.
        """
        super().__init__()
        if compressor is not None and compressor.patch != window.patch:
            raise ValueError(
                f"compressor.patch={compressor.patch}, but the backbone has patches of {window.patch}: places of "
                f"context tokens are counted in its patches, so set compressor.patch={window.patch}"
            )
        self.window = window
        self.compressor = compressor
        self.has_memory = compressor is not None
        self.shot_gap = shot_gap
        self.patch, self.frame_patch, self.joint_text = window.patch, window.frame_patch, window.joint_text
        width = window.backbone.width
        self.null_memory = nn.Parameter(0.02 * torch.randn(width))
        # None where there is no memory to mark: DDP refuses parameters that no gradient reaches.
        self.cut = None if compressor is None else nn.Parameter(torch.zeros(width))
        self.adapter: nn.Module | None = None
        self.chunk_frames, self.event_probs = window.chunk_frames, window.event_probs
        self.ablations = window.ablations
        if compressor is not None:
            self.ablations = ("memory", *window.ablations)
            context_width = compressor.width
            to_width = nn.Linear(context_width, width)
            if low_resolution:  # what the branch says stands at first for itself
                nn.init.zeros_(to_width.weight)
                nn.init.zeros_(to_width.bias)
            self.adapter = nn.Sequential(nn.LayerNorm(context_width), to_width)
        # Begins as it is drawn: what it is given begins at zero.
        with_control = compressor is not None and window.backbone.control is not None
        self.control_adapter = nn.Linear(width, width) if with_control else None
        self.low_resolution = low_resolution

    @property
    def takes_segments(self) -> bool:
        """Always, if only for the null memory."""
        return True

    @property
    def backbone(self) -> Backbone:
        """The DiT whose self-attention the memory joins."""
        return self.window.backbone

    def num_windows(self, num_frames: int) -> int:
        """In how many windows VIN denoises this network's own window, which is a canvas to VIN."""
        return self.window.num_windows(num_frames)

    def spread(self, processes: Processes) -> None:
        """Shares out those windows; the memory is compressed by each process."""
        self.window.spread(processes)

    def frame_parts(self, num_frames: int) -> Parts | None:
        """The frames that each process holds of this network's own window."""
        return self.window.frame_parts(num_frames)

    def spread_training(self, processes: Processes, *, in_step: bool = False) -> None:
        """The same in training."""
        self.window.spread_training(processes, in_step=in_step)

    def predict(self, noisy: Tensor, time: Tensor, condition: Condition) -> Prediction:
        """noisy: b c f h w; time: b f in [0, 1], 0 on clean frames, or 1 1; losses as the window's."""
        condition = self.encode_context(condition)
        relative = condition.frame_index - condition.origin
        return self.window.predict(noisy, time, condition._replace(frame_index=relative, context=()))

    def encode_context(self, condition: Condition) -> Condition:
        """Keys and values of the whole context: once for each canvas, whatever the number of steps.

        Without context the learned null memory alone. Where the condition has its memory already, it stays.
        """
        condition = embed_control(self.backbone.control, condition)
        if condition.memory is not None:
            return condition
        batch = condition.frame_index.shape[0]
        null = repeat(self.null_memory, "d -> b 1 d", b=batch)
        origin = torch.zeros(batch, 1, 3, device=null.device)
        layers = self.backbone.key_values(null, origin)
        contexts = condition.context if self.compressor is not None else ()
        masks: list[tuple[int, Tensor | None]] = [(1, None)]
        for context in contexts:
            tokens, positions, known = self._compress(condition, context)
            height, width = context.segments.video.shape[-2:]
            added = self.backbone.key_values(tokens, positions, (height // self.patch, width // self.patch))
            layers = tuple(
                (_append(keys, more[0], batch), _append(values, more[1], batch))
                for (keys, values), more in zip(layers, added, strict=True)
            )
            masks.append((layers[0][0].shape[2] - sum(count for count, _ in masks), known))
        return condition._replace(memory=ContextCache(layers, join_masks(masks, batch, null.device)))

    def encode_text(self, condition: Condition) -> Condition:
        """The window's."""
        return self.window.encode_text(condition)

    def _compress(self, condition: Condition, context: Context) -> tuple[Tensor, Tensor, Tensor | None]:
        """Context tokens, segments folded into the batch, with places relative to the canvas.

        Returns tokens (b s) m d, positions (b s) m 3, and which exist: b (s m), or None where all do.
        """
        segments = context.segments
        assert self.compressor is not None
        assert self.adapter is not None
        assert self.cut is not None
        exists, folded, level = segments.valid.flatten(), segments.fold(), context.level.flatten()
        device = segments.video.device
        picked: Tensor | None = None
        if context.complete:
            folded = folded._replace(text_mask=None)
        elif not bool(exists.all()):  # looked at where it lies: in training the host's memory
            # What pads is not encoded; one segment always is, so that every process trains the same parameters.
            found = torch.nonzero(exists).flatten() if bool(exists.any()) else exists.new_zeros(1, dtype=torch.long)
            folded, level = folded.map(lambda x: x[on_device(found, x.device)]), level[on_device(found, device)]
            picked = on_device(found, device)
        folded = folded._replace(text_mask=mask_on_device(folded.text_mask, device))
        encoded = self.compressor.encode(folded, level, context.rate)
        assert encoded.positions is not None
        places = _scatter(encoded.positions, picked, len(exists))
        tokens = self.adapter(encoded.tokens)
        if self.low_resolution:
            means = nearest_means(folded.video, encoded.positions, self.patch)
            tokens = tokens + self.backbone.patches(means.to(tokens.dtype))
        tokens = _scatter(tokens, picked, len(exists))
        shot = condition.shot
        cuts = torch.zeros_like(segments.shot) if shot is None else segments.shot - shot[:, None]
        start = segments.frame_index[:, :, 0] - condition.frame_index[:, :1] + self.shot_gap * cuts
        frames, rows, columns = places.unbind(-1)
        frames = frames + rearrange(start, "b s -> (b s) 1")
        tokens = tokens + rearrange(cuts != 0, "b s -> (b s) 1 1") * self.cut.to(tokens.dtype)
        positions = torch.stack([frames, rows, columns], dim=-1)
        if self.low_resolution:
            tokens = tokens + self.backbone.place.at(positions)
        tokens = self._with_control(tokens, places, condition, segments)
        if picked is None:
            return tokens, positions, None
        return tokens, positions, repeat(on_device(segments.valid, device), "b s -> b (s m)", m=tokens.shape[1])

    def _with_control(self, tokens: Tensor, places: Tensor, condition: Condition, segments: SegmentBatch) -> Tensor:
        """Context tokens (b s) m d with the control of their own frames, seen from the canvas's first one."""
        reference, values = condition.per_frame.get(NAME), segments.per_frame.get(NAME)
        control = self.backbone.control
        if self.control_adapter is None or control is None or reference is None or values is None:
            return tokens
        embedded = control(rearrange(values, "b s f n -> b (s f) n"), reference[:, 0])
        frames = rearrange(embedded, "b (s f) d -> (b s) f d", s=values.shape[1])
        said: Tensor = self.control_adapter(at_places(frames, places[..., 0]))
        return tokens + said.to(tokens.dtype)


def nearest_means(video: Tensor, places: Tensor, patch: int) -> Tensor:
    """Means of the patches that are nearest to each place, the nearest of all where it has none to itself.

    video: n c f h w; places: n m 3 on the grid of patches, of sides `patch`. Returns n m (c p q), the DiT's order.
    """
    patches = rearrange(video, "n c f (h p) (w q) -> n f h w (c p q)", p=patch, q=patch)
    axes = (torch.arange(size, dtype=torch.float32, device=video.device) for size in patches.shape[1:4])
    grid = torch.cartesian_prod(*axes).expand(len(video), -1, -1)
    apart = torch.cdist(grid, places.float(), compute_mode="donot_use_mm_for_euclid_dist")  # exact at any precision
    share = nn.functional.one_hot(apart.argmin(dim=2), places.shape[1]).float()
    alone = nn.functional.one_hot(apart.argmin(dim=1), apart.shape[1]).float().mT
    share = torch.where(share.sum(dim=1, keepdim=True) > 0, share, alone)
    share = share / share.sum(dim=1, keepdim=True)
    return share.mT @ rearrange(patches.float(), "n f h w d -> n (f h w) d")


def _scatter(values: Tensor, picked: Tensor | None, count: int) -> Tensor:
    """Rows p m d back to their places among `count`; zero elsewhere. All rows where none were picked."""
    if picked is None:
        return values
    return values.new_zeros(count, *values.shape[1:]).index_copy(0, picked, values)


def _append(stack: Tensor, more: Tensor, batch: int) -> Tensor:
    """Joins keys or values of several segments, (b s) k m d, behind b k n d."""
    return torch.cat([stack, rearrange(more, "(b s) k m d -> b k (s m) d", b=batch)], dim=2)


def compressor_alone(*, compressor: ContextCompressor | None) -> ContextCompressor:
    """`network=compressor`: what LoViC's first stage trains.

    Args:
        compressor: the group of that name.

    Returns:
        The compressor itself.

    Raises:
        ValueError: if there is none.
    """
    if compressor is None:
        raise ValueError(
            "network=compressor trains a compressor by itself, but none is chosen: add compressor=flexformer"
        )
    return compressor
