"""The steps of a pretrained Wan block, written out with its own modules, so that they know masks, memory and places.

Axes: b batch, n tokens, k heads, d width, g modulation groups, as in `networks.blocks`. The weights may be of half
precision: what flows between the steps has their type, norms and modulation are computed in float32, as in diffusers.
"""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from networks.blocks import Attend, KeyValue, Layout, add_gated, by_group, modulate, scaled_dot_product
from networks.rope import Rotation

THETA = 10000.0
"""Base of RoPE's frequencies that Wan was trained with. Source: diffusers' WanRotaryPosEmbed."""


class WanRope(nn.Module):
    """Wan's rotary embedding from float positions, where diffusers has a table of whole ones."""

    frequencies: Tensor
    axis: Tensor

    def __init__(self, *, head_width: int) -> None:
        """Source: diffusers' WanRotaryPosEmbed: a third of a head's pairs a side, rounded down, the rest for frames."""
        super().__init__()
        side = head_width // 6
        counts = (head_width // 2 - 2 * side, side, side)
        frequencies = [THETA ** (-torch.arange(count, dtype=torch.float64) / count) for count in counts]
        self.register_buffer("frequencies", torch.cat(frequencies).float(), persistent=False)
        axis = [place for place, count in enumerate(counts) for _ in range(count)]
        self.register_buffer("axis", torch.tensor(axis), persistent=False)

    def forward(self, positions: Tensor) -> Rotation:
        """positions: b n 3 as (frame, row, column), any real."""
        angles = positions.float()[..., self.axis] * self.frequencies.float()
        return Rotation(angles.cos().unsqueeze(1), angles.sin().unsqueeze(1))


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
    block: Any,
    x: Tensor,
    layout: Layout,
    modulation: Tensor,
    rotation: Rotation,
    key_mask: Tensor | None,
    text: Tensor,
    memory: KeyValue | None,
    attend: Attend | None,
) -> Tensor:
    """One block; x: b n d; modulation: b g 6 d; key_mask: b n+p or None; text: b l d; memory: of p context tokens.

    As `networks.blocks.DiTBlock`: only the video's tokens ask the text.
    """
    shift, scale, gate, ff_shift, ff_scale, ff_gate = (modulation.float() + block.scale_shift_table.float()).unbind(2)
    y = modulated(block.norm1, x, layout, shift, scale)
    query, key, value = _heads(block.attn1, y, y, rotation)
    if attend is not None:
        mixed = attend(query, key, value)
    else:
        if memory is not None:
            key, value = torch.cat([key, memory[0]], dim=2), torch.cat([value, memory[1]], dim=2)
        mixed = scaled_dot_product(query, key, value, _of_keys(key_mask))
    x = _ask_text(block, _gated(x, _out(block.attn1, mixed), layout, gate), text, layout)
    return _gated(x, block.ffn(modulated(block.norm3, x, layout, ff_shift, ff_scale)), layout, ff_gate)


def _ask_text(block: Any, x: Tensor, text: Tensor, layout: Layout) -> Tensor:
    num_video = layout.num_frames * layout.per_frame
    video = x[:, :num_video]
    asking = block.norm2(video.float()).to(x.dtype)
    said = _out(block.attn2, scaled_dot_product(*_heads(block.attn2, asking, text, None), None))
    video = (video + said).to(x.dtype)
    return video if x.shape[1] == num_video else torch.cat([video, x[:, num_video:]], dim=1)


def denoise_gated(
    block: Any,
    x: Tensor,
    layout: Layout,
    modulation: Tensor,
    rotation: Rotation,
    key_mask: Tensor | None,
    text: Tensor,
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
    values = (modulation.float() + block.scale_shift_table.float()).unbind(2)
    shift, scale, gate, ff_shift, ff_scale, ff_gate = values
    y = modulated(block.norm1, x, layout, shift, scale)
    query, key, value = _heads(block.attn1, y, y, rotation)
    mixed = scaled_dot_product(query, key, value, _of_keys(key_mask)) if attend is None else attend(query, key, value)
    apart = [] if memory is None else [memory]
    if beside is not None:
        own, last = Layout(1, beside.shape[1]), [each[:, -1:] for each in values]
        z = modulated(block.norm1, beside, own, last[0], last[1])
        asking, *told = _heads(block.attn1, z, z, None)
        apart = [(told[0], told[1]), *apart]
    if apart:
        nothing = torch.zeros_like(key[:, :, :1])
        keys, given = (torch.cat([nothing, *side], dim=2) for side in zip(*apart, strict=True))
        said = scaled_dot_product(query, keys, given, _of_keys(seen))
        mixed = torch.addcmul(mixed.float(), context_gate.float(), said.float()).to(mixed.dtype)
    x = _ask_text(block, _gated(x, _out(block.attn1, mixed), layout, gate), text, layout)
    x = _gated(x, block.ffn(modulated(block.norm3, x, layout, ff_shift, ff_scale)), layout, ff_gate)
    if beside is not None:
        everything = (torch.cat([key, keys[:, :, 1:]], dim=2), torch.cat([value, given[:, :, 1:]], dim=2))
        mask = _all_keys(key_mask, seen, key.shape[2], keys.shape[2])
        beside = _gated(beside, _out(block.attn1, scaled_dot_product(asking, *everything, mask)), own, last[2])
        beside = _gated(beside, block.ffn(modulated(block.norm3, beside, own, last[3], last[4])), own, last[5])
    return x, beside


def _of_keys(mask: Tensor | None) -> Tensor | None:
    """A mask of keys b m as attention takes it."""
    return None if mask is None else rearrange(mask, "b m -> b 1 1 m")


def _all_keys(key_mask: Tensor | None, seen: Tensor | None, num_video: int, num_apart: int) -> Tensor | None:
    """Mask of the video's keys and, but for "nothing", of those apart."""
    known = next((mask for mask in (key_mask, seen) if mask is not None), None)
    if known is None:
        return None
    video = known.new_ones(len(known), num_video) if key_mask is None else key_mask
    apart = known.new_ones(len(known), num_apart) if seen is None else seen
    return _of_keys(torch.cat([video, apart[:, 1:]], dim=1))


def remember(block: Any, x: Tensor, modulation: Tensor, rotation: Rotation) -> tuple[Tensor, KeyValue]:
    """Context tokens b n d through one block, seeing one another alone, and their keys and values.

    modulation: 6 d, of clean time. They ask no text: it is in them already.
    """
    values = rearrange(modulation.float() + block.scale_shift_table[0].float(), "six d -> six 1 1 d")
    shift, scale, gate, ff_shift, ff_scale, ff_gate = (value.expand(len(x), -1, -1) for value in values)
    whole = Layout(num_frames=1, per_frame=x.shape[1])
    y = modulated(block.norm1, x, whole, shift, scale)
    query, key, value = _heads(block.attn1, y, y, rotation)
    x = _gated(x, _out(block.attn1, scaled_dot_product(query, key, value, None)), whole, gate)
    x = _gated(x, block.ffn(modulated(block.norm3, x, whole, ff_shift, ff_scale)), whole, ff_gate)
    return x, (key, value)
