"""The steps of a block of pretrained transformers, with its own modules, so that they know masks, memory and places.

Of families whose blocks ask the text by an attention of its own: Wan, LTX-Video.

Axes: b batch, n tokens, k heads, d width, g modulation groups, as in `networks.blocks`. The weights may be of half
precision: what flows between the steps has their type, norms and modulation are computed in float32, as in diffusers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from networks.attention import Attend, KeyValue, scaled_dot_product
from networks.blocks import Layout, add_gated, by_group, modulate
from networks.rope import Rotation


class Parts(NamedTuple):
    """The modules of one block, whatever its family calls them.

    attention, text_attention: with to_q, to_k, to_v, norm_q, norm_k, to_out and heads. norm, text_norm, mlp_norm: what
    stands before each of the three; text_norm is None where nothing does. table: 6 d, added to the modulation.
    """

    attention: Any
    text_attention: Any
    norm: nn.Module
    text_norm: nn.Module | None
    mlp_norm: nn.Module
    mlp: nn.Module
    table: Tensor


PartsOf = Callable[[Any], Parts]
"""A block of a family to its parts."""


def rotate_pairs(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotates neighbours (2i, 2i + 1) of queries or keys b k n d; computed in fp32, returned in x's type."""
    even, odd = rearrange(x.float(), "b k n (d two) -> two b k n d", two=2)
    turned = (even * rotation.cos - odd * rotation.sin, even * rotation.sin + odd * rotation.cos)
    return rearrange(list(turned), "two b k n d -> b k n (d two)").to(x.dtype)


def _heads(attention: Any, queries: Tensor, keys: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor, Tensor]:
    # The projections are called as modules: where there is LoRA, it is in them.
    projected = (attention.norm_q(attention.to_q(queries)), attention.norm_k(attention.to_k(keys)))
    value = rearrange(attention.to_v(keys), "b n (k d) -> b k n d", k=attention.heads)
    query, key = (rearrange(x, "b n (k d) -> b k n d", k=attention.heads) for x in projected)
    if rotation is not None:
        query, key = rotate_pairs(query, rotation), rotate_pairs(key, rotation)
    return query.to(value.dtype), key.to(value.dtype), value


def _out(attention: Any, mixed: Tensor) -> Tensor:
    output: Tensor = attention.to_out[0](rearrange(mixed, "b k n d -> b n (k d)"))
    return output


def modulated(norm: nn.Module, x: Tensor, layout: Layout, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised, shifted and scaled; x: b n d, shift and scale: b g d, groups as in `by_group`."""
    return by_group(layout, modulate, (norm(x.float()),), (shift.float(), scale.float())).to(x.dtype)


def _gated(x: Tensor, update: Tensor, layout: Layout, gate: Tensor) -> Tensor:
    return by_group(layout, add_gated, (x.float(), update.float()), (gate,)).to(x.dtype)


def denoise(
    parts_of: PartsOf,
    block: Any,
    x: Tensor,
    layout: Layout,
    modulation: Tensor,
    rotation: Rotation,
    key_mask: Tensor | None,
    text: Tensor | KeyValue,
    text_mask: Tensor | None,
    memory: KeyValue | None,
    attend: Attend | None,
) -> Tensor:
    """One block; x: b n d; modulation: b g 6 d; key_mask: b n+p or None; text: b l d, or what `text_keys` made of it;
    text_mask: b l or None; memory: of p context tokens.

    As `networks.blocks.DiTBlock`: only the video's tokens ask the text.
    """
    parts = parts_of(block)
    shift, scale, gate, ff_shift, ff_scale, ff_gate = (modulation.float() + parts.table.float()).unbind(2)
    y = modulated(parts.norm, x, layout, shift, scale)
    query, key, value = _heads(parts.attention, y, y, rotation)
    if attend is not None:
        mixed = attend(query, key, value)
    else:
        if memory is not None:
            key, value = torch.cat([key, memory[0]], dim=2), torch.cat([value, memory[1]], dim=2)
        mixed = scaled_dot_product(query, key, value, of_keys(key_mask))
    x = _ask_text(parts, _gated(x, _out(parts.attention, mixed), layout, gate), text, text_mask, layout)
    return _gated(x, parts.mlp(modulated(parts.mlp_norm, x, layout, ff_shift, ff_scale)), layout, ff_gate)


def text_keys(parts_of: PartsOf, block: Any, text: Tensor) -> KeyValue:
    """Keys and values of a text b l d in one block, which no step and no window changes."""
    attention = parts_of(block).text_attention
    value = rearrange(attention.to_v(text), "b n (k d) -> b k n d", k=attention.heads)
    key = rearrange(attention.norm_k(attention.to_k(text)), "b n (k d) -> b k n d", k=attention.heads)
    return key.to(value.dtype), value


def _ask_text(parts: Parts, x: Tensor, text: Tensor | KeyValue, text_mask: Tensor | None, layout: Layout) -> Tensor:
    num_video = layout.num_frames * layout.per_frame
    video = x[:, :num_video]
    asking = video if parts.text_norm is None else parts.text_norm(video.float()).to(x.dtype)
    attention = parts.text_attention
    if isinstance(text, Tensor):
        heads = _heads(attention, asking, text, None)
    else:
        query = rearrange(attention.norm_q(attention.to_q(asking)), "b n (k d) -> b k n d", k=attention.heads)
        heads = (query.to(text[1].dtype), *text)
    said = _out(parts.text_attention, scaled_dot_product(*heads, of_keys(text_mask)))
    video = (video + said).to(x.dtype)
    return video if x.shape[1] == num_video else torch.cat([video, x[:, num_video:]], dim=1)


def denoise_gated(
    parts_of: PartsOf,
    block: Any,
    x: Tensor,
    layout: Layout,
    modulation: Tensor,
    rotation: Rotation,
    key_mask: Tensor | None,
    text: Tensor | KeyValue,
    text_mask: Tensor | None,
    memory: KeyValue | None,
    attend: Attend | None,
    context_gate: Tensor,
    beside: Tensor | None,
    seen: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """One block for the video alone, x: b (f s) d, and for the tokens beside it, b m d or None; returns both.

    The video attends to itself as in the base, and apart from that to nothing, to the tokens beside it and to the
    memory, whose sum enters through the gate, heads 1 d/heads. "Nothing" is a key and a value of zero: so a head can
    turn away, and a row all of whose tokens are masked is given zero. The tokens attend to the video, to one another
    and to the memory, as where all are joined. key_mask: b (f s); seen: b 1+m+p, of what is attended to apart.
    """
    parts = parts_of(block)
    values = (modulation.float() + parts.table.float()).unbind(2)
    shift, scale, gate, ff_shift, ff_scale, ff_gate = values
    y = modulated(parts.norm, x, layout, shift, scale)
    query, key, value = _heads(parts.attention, y, y, rotation)
    mixed = scaled_dot_product(query, key, value, of_keys(key_mask)) if attend is None else attend(query, key, value)
    apart = [] if memory is None else [memory]
    if beside is not None:
        own, last = Layout(1, beside.shape[1]), [each[:, -1:] for each in values]
        z = modulated(parts.norm, beside, own, last[0], last[1])
        asking, *told = _heads(parts.attention, z, z, None)
        apart = [(told[0], told[1]), *apart]
    if apart:
        nothing = torch.zeros_like(key[:, :, :1])
        keys, given = (torch.cat([nothing, *side], dim=2) for side in zip(*apart, strict=True))
        said = scaled_dot_product(query, keys, given, of_keys(seen))
        mixed = torch.addcmul(mixed.float(), context_gate.float(), said.float()).to(mixed.dtype)
    x = _ask_text(parts, _gated(x, _out(parts.attention, mixed), layout, gate), text, text_mask, layout)
    x = _gated(x, parts.mlp(modulated(parts.mlp_norm, x, layout, ff_shift, ff_scale)), layout, ff_gate)
    if beside is not None:
        everything = (torch.cat([key, keys[:, :, 1:]], dim=2), torch.cat([value, given[:, :, 1:]], dim=2))
        mask = all_keys(key_mask, None if seen is None else seen[:, 1:], key.shape[2], keys.shape[2] - 1)
        said = scaled_dot_product(asking, *everything, of_keys(mask))
        beside = _gated(beside, _out(parts.attention, said), own, last[2])
        beside = _gated(beside, parts.mlp(modulated(parts.mlp_norm, beside, own, last[3], last[4])), own, last[5])
    return x, beside


def of_keys(mask: Tensor | None) -> Tensor | None:
    """A mask of keys b m as attention takes it."""
    return None if mask is None else rearrange(mask, "b m -> b 1 1 m")


def all_keys(first: Tensor | None, second: Tensor | None, num_first: int, num_second: int) -> Tensor | None:
    """One mask b n+m of two sorts of keys, of which None masks nothing; None where neither does."""
    known = next((mask for mask in (first, second) if mask is not None), None)
    if known is None:
        return None
    whole = (known.new_ones(len(known), count) for count in (num_first, num_second))
    masks = (every if mask is None else mask for mask, every in zip((first, second), whole, strict=True))
    return torch.cat(list(masks), dim=1)


def remember(
    parts_of: PartsOf, block: Any, x: Tensor, modulation: Tensor, rotation: Rotation
) -> tuple[Tensor, KeyValue]:
    """Context tokens b n d through one block, seeing one another alone, and their keys and values.

    modulation: 6 d, of clean time. They ask no text: it is in them already.
    """
    parts = parts_of(block)
    values = rearrange(modulation.float() + parts.table.float(), "six d -> six 1 1 d")
    shift, scale, gate, ff_shift, ff_scale, ff_gate = (value.expand(len(x), -1, -1) for value in values)
    whole = Layout(num_frames=1, per_frame=x.shape[1])
    y = modulated(parts.norm, x, whole, shift, scale)
    query, key, value = _heads(parts.attention, y, y, rotation)
    x = _gated(x, _out(parts.attention, scaled_dot_product(query, key, value, None)), whole, gate)
    x = _gated(x, parts.mlp(modulated(parts.mlp_norm, x, whole, ff_shift, ff_scale)), whole, ff_gate)
    return x, (key, value)
