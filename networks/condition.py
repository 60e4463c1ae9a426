"""What a network may know beside the noisy video.

Axes: b batch, c channels, f frames, h height, w width, n tokens, d width of tokens, l text tokens, e text features.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import torch
from einops import repeat
from torch import Tensor

from networks.batches import SegmentBatch
from networks.chunks import cut_rows
from networks.parts import Part, Parts


class Context(NamedTuple):
    """Finished segments that are compressed alike.

    level: b s in [0, 1], time of the noise that was added to them, 0 for none; rate: video tokens a context token.
    complete: the host knows that every slot holds a segment and every token of its text is real: nothing is masked.
    """

    segments: SegmentBatch
    level: Tensor
    rate: float
    complete: bool = False


class ContextCache(NamedTuple):
    """Context tokens as the DiT's layers attend to them: they depend on no diffusion time, so once serves all steps.

    layers: (keys, values) of each block, b heads n d, keys rotated; mask: b n, True where there is a token,
    or None where all are. The first token is the learned null memory, which stands for no context.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor | None

    def map(self, function: Callable[[Tensor], Tensor]) -> "ContextCache":
        """The same with every tensor replaced."""
        mask = None if self.mask is None else function(self.mask)
        return ContextCache(tuple((function(key), function(value)) for key, value in self.layers), mask)

    @property
    def is_null(self) -> bool:
        """Whether nothing but the null memory is there."""
        return self.layers[0][0].shape[2] == 1

    @property
    def null(self) -> "ContextCache":
        """The null memory alone."""
        return ContextCache(tuple((key[:, :, :1], value[:, :, :1]) for key, value in self.layers), None)


class TextKeys(NamedTuple):
    """A text as it is asked: the same at all steps and in all windows, so once serves a video.

    layers: (keys, values) of each block's cross-attention, b heads l d; mask: b l, or None where all are asked.
    tokens: what else reads the text, such as VIN's interface, by name: b l d and a mask or None.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor | None
    tokens: Mapping[str, tuple[Tensor, Tensor | None]] = {}

    def map(self, function: Callable[[Tensor], Tensor]) -> "TextKeys":
        """The same with every tensor replaced."""
        mask = None if self.mask is None else function(self.mask)
        tokens = {
            name: (function(read), None if known is None else function(known))
            for name, (read, known) in self.tokens.items()
        }
        return TextKeys(tuple((function(key), function(value)) for key, value in self.layers), mask, tokens)

    @property
    def of_blocks(self) -> "TextKeys":
        """What the blocks read, alone."""
        return self._replace(tokens={})


class TokenGrid(NamedTuple):
    """A video's tokens, in this order: frames, then rows, then columns of patches."""

    frames: int
    rows: int
    columns: int


class AttentionOverride(Protocol):
    """What takes the place of the softmax attention among a video's tokens in every block of the DiT."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, grid: TokenGrid) -> Tensor:
        """Queries, keys (rotated already) and values b heads n d, n = f h w of the grid; returns b heads n d."""
        ...


class Condition(NamedTuple):
    """What a network may know beside the noisy video, and what replaces the attention among the video's tokens.

    A condition is a value: it cuts, folds and leaves out by itself, and no caller need know what it holds.

    frame_index: b f; text: b l e; text_mask: b l, None where all are real. frame_mask: b f, False where the canvas
    holds no frame; None for all. shot: b, number of the canvas's shot, as the context counts them. context: finished
    segments before, after or between. memory: keys and values of the context, where encode_context has made them.
    attention_override: in place of full self-attention, on a canvas without masks, memory and tokens that have no
    place; None for full attention. Set by rollouts, in sampling.
    per_frame: further inputs by name, b f d each, such as "control" (see networks.control).
    left_out: names of what the network is to go without, see `without`. events: by name, b, the rows of a training
    batch that something befalls (VideoNetwork.event_probs); what befalls none has no entry. frame_embedding: b f d,
    what the backbone made of per_frame["control"], for all steps (VideoNetwork.encode_context). asked: what the network
    made of text and text_mask, for all steps (VideoNetwork.encode_text). part: where this process holds not the whole
    canvas, whose frames these are; None where they are all of it.
    """

    frame_index: Tensor
    text: Tensor
    text_mask: Tensor | None
    frame_mask: Tensor | None = None
    shot: Tensor | None = None
    context: tuple[Context, ...] = ()
    memory: ContextCache | None = None
    attention_override: AttentionOverride | None = None
    per_frame: Mapping[str, Tensor] = {}
    left_out: frozenset[str] = frozenset()
    events: Mapping[str, Tensor] = {}
    frame_embedding: Tensor | None = None
    asked: TextKeys | None = None
    part: Part | None = None

    @property
    def origin(self) -> Tensor:
        """The frame_index of the canvas's first frame, b 1."""
        return self.frame_index[:, :1] if self.part is None else self.part.origin

    def held(self, parts: Parts) -> "Condition":
        """The condition of the frames that this process holds of the canvas; parts: who holds which."""
        return self.frames(slice(*parts.own))._replace(part=Part(parts, self.origin))

    def without(self, *names: str) -> "Condition":
        """The condition that lacks some of what it says, for guidance and ablations.

        names: "text"; "memory", of which the learned null memory stays; "control"; or what a network makes itself, such
        as VIN's "global_tokens". What is not there is left out already.
        """
        left = self._replace(
            per_frame={name: values for name, values in self.per_frame.items() if name not in names},
            left_out=self.left_out.union(names),
        )
        if "control" in names:
            left = left._replace(frame_embedding=None)
        if "text" in names:
            # Masked and not cut off: products of one row round otherwise, and released videos stay as they are.
            none = torch.zeros(self.text.shape[:2], dtype=torch.bool, device=self.text.device)
            left = left._replace(text_mask=none, asked=None)
        if "memory" in names:
            left = left._replace(context=(), memory=None if self.memory is None else self.memory.null)
        return left

    def lacks(self, name: str) -> bool:
        """Whether the host knows that `without(name)` changes nothing: a pass of guidance would repeat another."""
        if name in self.left_out:
            return True
        if name == "memory":
            return not self.context and (self.memory is None or self.memory.is_null)
        return name == "control" and name not in self.per_frame and self.frame_embedding is None

    def frames(self, index: Tensor | slice) -> "Condition":
        """The condition of some of the frames, in the order of `index`: integers j, or a slice."""
        return self._of_frames(lambda x: x[:, index])

    def rows(self, chosen: Tensor) -> "Condition":
        """The condition of some of the videos of a batch, whose context is encoded; chosen: b, True for those."""
        assert not self.context or self.memory is not None, "a context is encoded before its rows are cut"

        def cut(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[chosen]

        return self._replace(
            frame_index=self.frame_index[chosen],
            text=self.text[chosen],
            text_mask=cut(self.text_mask),
            frame_mask=cut(self.frame_mask),
            shot=cut(self.shot),
            frame_embedding=cut(self.frame_embedding),
            context=(),
            memory=None if self.memory is None else self.memory.map(lambda x: x[chosen]),
            per_frame={name: values[chosen] for name, values in self.per_frame.items()},
            events={name: values[chosen] for name, values in self.events.items()},
        )

    def fold(self, windows: Tensor) -> "Condition":
        """The condition of windows that are folded into the batch, (b k); windows: k j, frames of each.

        A context has to be encoded first, since a segment's place among the windows is not known here.
        """
        assert not self.context or self.memory is not None, "a context is encoded before it is folded into windows"

        def spread(x: Tensor) -> Tensor:
            return repeat(x, "b ... -> (b k) ...", k=len(windows))

        return self._of_frames(lambda x: cut_rows(x, windows))._replace(
            text=spread(self.text),
            text_mask=None if self.text_mask is None else spread(self.text_mask),
            asked=None if self.asked is None else self.asked.map(spread),
            shot=None if self.shot is None else spread(self.shot),
            context=(),
            part=None,
            memory=None if self.memory is None else self.memory.map(spread),
            events={name: spread(rows) for name, rows in self.events.items()},
        )

    def _of_frames(self, cut: Callable[[Tensor], Tensor]) -> "Condition":
        """With everything that has a value a frame cut alike."""
        return self._replace(
            frame_index=cut(self.frame_index),
            frame_mask=None if self.frame_mask is None else cut(self.frame_mask),
            per_frame={name: cut(values) for name, values in self.per_frame.items()},
            frame_embedding=None if self.frame_embedding is None else cut(self.frame_embedding),
        )
