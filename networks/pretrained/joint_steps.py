"""The steps of a block of pretrained transformers in which text and video share one attention, and both change.

Of CogVideoX and HunyuanVideo. Axes: b batch, n tokens, k heads, d width, e width of the clock, g modulation groups, as
in `networks.blocks`; l text tokens. Norms and modulation are computed in float32, as in `networks.pretrained.steps`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from networks.attention import Attend, KeyValue, scaled_dot_product
from networks.blocks import Layout, add_gated, by_group, modulate
from networks.pretrained.steps import all_keys, of_keys, rotate_pairs
from networks.rope import Rotation


class Modulation(NamedTuple):
    """What a stream is shifted, scaled and gated by, b g d each; the last three are None where all is one step."""

    shift: Tensor
    scale: Tensor
    gate: Tensor
    mlp_shift: Tensor | None = None
    mlp_scale: Tensor | None = None
    mlp_gate: Tensor | None = None

    @property
    def last(self) -> "Modulation":
        """That of the tokens that have no place, b 1 d each: of the noisiest frame."""
        return Modulation(*(None if x is None else x[:, -1:] for x in self))  # type: ignore[arg-type]


class Stream(NamedTuple):
    """The modules of a block through which one stream goes, the video's or the text's.

    query, key, value: to all heads; query_norm, key_norm: of a head; out: of attention. norm, mlp_norm: what stands
    before attention and mlp. Where mlp_norm is None the mlp goes beside attention, of the same input, and `out` takes
    both.
    """

    query: Any
    key: Any
    value: Any
    query_norm: nn.Module
    key_norm: nn.Module
    out: Any
    norm: nn.Module
    mlp_norm: nn.Module | None
    mlp: Any
    modulation: Modulation


class Streams(NamedTuple):
    """Both streams of a block, and how many heads they have."""

    video: Stream
    text: Stream
    heads: int


StreamsOf = Callable[[Any, Tensor], Streams]
"""A block of a family and the clock b g e to its streams; groups as `networks.sequence.group_times` has them."""


def normal(norm: Any, x: Tensor) -> Tensor:
    """A layer norm in float32, whatever its weights are."""
    weight, bias = (None if each is None else each.float() for each in (norm.weight, norm.bias))
    return F.layer_norm(x.float(), norm.normalized_shape, weight, bias, norm.eps)


def modulated(norm: Any, x: Tensor, layout: Layout, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised, shifted and scaled; x: b n d, shift and scale: b g d, groups as in `by_group`."""
    return by_group(layout, modulate, (normal(norm, x),), (shift.float(), scale.float())).to(x.dtype)


def _of_its_type(norm: Any, x: Tensor) -> Tensor:
    """A norm of diffusers' own in its weights' type: autocast may make x of the other half precision."""
    weight = getattr(norm, "weight", None)
    made: Tensor = norm(x if weight is None else x.to(weight.dtype))
    return made


def _gated(x: Tensor, update: Tensor, layout: Layout, gate: Tensor) -> Tensor:
    return by_group(layout, add_gated, (x.float(), update.float()), (gate.float(),)).to(x.dtype)


def _whole(x: Tensor) -> Layout:
    return Layout(1, x.shape[1])


class _Entered(NamedTuple):
    """Tokens as they enter attention, b n d, and their queries, keys and values, b k n d."""

    tokens: Tensor
    query: Tensor
    key: Tensor
    value: Tensor


def _enter(stream: Stream, heads: int, x: Tensor, layout: Layout, rotation: Rotation | None) -> _Entered:
    y = modulated(stream.norm, x, layout, stream.modulation.shift, stream.modulation.scale)
    query, key, value = (
        rearrange(project(y), "b n (k d) -> b k n d", k=heads) for project in (stream.query, stream.key, stream.value)
    )
    query, key = _of_its_type(stream.query_norm, query), _of_its_type(stream.key_norm, key)
    if rotation is not None:
        query, key = rotate_pairs(query, rotation), rotate_pairs(key, rotation)
    return _Entered(y, query.to(value.dtype), key.to(value.dtype), value)


def _leave(stream: Stream, x: Tensor, y: Tensor, mixed: Tensor, layout: Layout) -> Tensor:
    told, values = rearrange(mixed, "b k n d -> b n (k d)"), stream.modulation
    if stream.mlp_norm is None:
        return _gated(x, stream.out(torch.cat([told, stream.mlp(y)], dim=-1)), layout, values.gate)
    x = _gated(x, stream.out(told), layout, values.gate)
    assert values.mlp_shift is not None
    assert values.mlp_scale is not None
    assert values.mlp_gate is not None
    update = stream.mlp(modulated(stream.mlp_norm, x, layout, values.mlp_shift, values.mlp_scale))
    return _gated(x, update, layout, values.mlp_gate)


def denoise_joint(
    streams_of: StreamsOf,
    block: Any,
    x: Tensor,
    layout: Layout,
    clock: Tensor,
    rotation: Rotation | None,
    key_mask: Tensor | None,
    text: Tensor,
    text_mask: Tensor | None,
    memory: KeyValue | None,
    attend: Attend | None,
    context_gate: Tensor | None,
    beside: Tensor | None,
    seen: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One block for video, text b l d and tokens beside the video b m d or None; returns all three.

    x: b n d, the video, and behind it the tokens without a place where all is joined (context_gate is None): memory is
    then among the keys, and key_mask: b n+p. With a gate, heads 1 d/heads, it is the video alone, and what stands
    beside it and the memory is attended to apart, as in `networks.pretrained.steps.denoise_gated`; the text sees the
    video alone, as in the base. seen: b 1+m+p. clock: b g e. attend is refused before.
    """
    assert attend is None, "another attention cannot take the place of one that text shares"
    streams = streams_of(block, clock)
    own, said = streams.video, streams.text._replace(modulation=streams.text.modulation.last)
    y, query, key, value = _enter(own, streams.heads, x, layout, rotation)
    z, asking, named, given = _enter(said, streams.heads, text, _whole(text), None)
    apart = [] if memory is None else [memory]
    joined = apart if context_gate is None else []
    keys = torch.cat([key, *(each for each, _ in joined), named], dim=2)
    values = torch.cat([value, *(each for _, each in joined), given], dim=2)
    mask = all_keys(key_mask, text_mask, keys.shape[2] - named.shape[2], named.shape[2])
    mixed = scaled_dot_product(torch.cat([query, asking], dim=2), keys, values, of_keys(mask))
    mixed, told = mixed.split([query.shape[2], asking.shape[2]], dim=2)
    if context_gate is None:
        return _leave(own, x, y, mixed, layout), _leave(said, text, z, told, _whole(text)), None
    if beside is not None:
        last = own._replace(modulation=own.modulation.last)
        w, wondering, *known = _enter(last, streams.heads, beside, _whole(beside), None)
        apart = [(known[0], known[1]), *apart]
    if apart:
        nothing = torch.zeros_like(key[:, :, :1])
        others, theirs = (torch.cat([nothing, *side], dim=2) for side in zip(*apart, strict=True))
        heard = scaled_dot_product(query, others, theirs, of_keys(seen))
        mixed = torch.addcmul(mixed.float(), context_gate.float(), heard.float()).to(mixed.dtype)
    if beside is not None:
        everything = (torch.cat([keys, others[:, :, 1:]], dim=2), torch.cat([values, theirs[:, :, 1:]], dim=2))
        known_to = all_keys(mask, None if seen is None else seen[:, 1:], keys.shape[2], others.shape[2] - 1)
        beside = _leave(last, beside, w, scaled_dot_product(wondering, *everything, of_keys(known_to)), _whole(beside))
    return _leave(own, x, y, mixed, layout), _leave(said, text, z, told, _whole(text)), beside


def remember_joint(
    streams_of: StreamsOf, block: Any, x: Tensor, clock: Tensor, rotation: Rotation | None
) -> tuple[Tensor, KeyValue]:
    """Context tokens b n d through one block as a video's, seeing one another alone, and their keys and values.

    clock: 1 1 e, of clean time. No text goes beside them: it is in them already.
    """
    streams = streams_of(block, clock)
    y, query, key, value = _enter(streams.video, streams.heads, x, _whole(x), rotation)
    return _leave(streams.video, x, y, scaled_dot_product(query, key, value, None), _whole(x)), (key, value)
