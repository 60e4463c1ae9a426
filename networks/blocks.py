"""The transformer block of the DiT.

Axes: b batch, n tokens, k heads, d width, g modulation groups. Tokens of a video are in frame order, `s` a frame;
tokens without a place (global or context tokens) follow them.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.attention import Attend, Attention, KeyValue
from networks.rope import Rotation


class GELU(nn.GELU):
    """GELU, in place where no gradient is asked for: the widest tensor of a block, and memory not touched yet, less."""

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape; overwritten where no gradient is asked for."""
        return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def feed_forward(width: int, hidden: int, activation: nn.Module) -> nn.Sequential:
    """Two linear layers with an activation between; timm's Mlp by its names, whose import alone takes a second."""
    layers = {"fc1": nn.Linear(width, hidden), "act": activation, "fc2": nn.Linear(hidden, width)}
    return nn.Sequential(OrderedDict(layers))


class PlainLayerNorm(nn.Module):
    """Layer norm without parameters, before a modulation. Given ones and zeros, a CPU takes half the time for it."""

    ones: Tensor
    zeros: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("ones", torch.ones(width), persistent=False)
        self.register_buffer("zeros", torch.zeros(width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: `... d`."""
        return self.scaled(x, self.ones, self.zeros)

    def scaled(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """The same, times scale, plus shift; both d."""
        return F.layer_norm(x, scale.shape, scale, shift, eps=1e-6)


class Layout(NamedTuple):
    """How a token sequence is grouped for modulation: f frames of s tokens each, then tokens without a place."""

    num_frames: int
    per_frame: int


def by_group(
    layout: Layout, function: Callable[..., Tensor], tokens: tuple[Tensor, ...], values: tuple[Tensor, ...]
) -> Tensor:
    """Applies an elementwise function of tokens (b n d each) and values (b g d each) group by group.

    The first groups are frames, one value each. The tokens behind them have one more value for all of them, or, where
    they are a multiple of a frame's, one each for as many as a frame has: then all is one view, and nothing is copied.
    Values broadcast over a group's tokens, so that nothing of size b n d is made for them. A single group is all.
    """
    num_video, groups = layout.num_frames * layout.per_frame, values[0].shape[1]
    if groups == 1:
        return function(*tokens, *values)
    if tokens[0].shape[1] == groups * layout.per_frame:
        views = [x.unflatten(1, (groups, -1)) for x in tokens]
        return function(*views, *(v.unsqueeze(2) for v in values)).flatten(1, 2)
    frames = [x[:, :num_video].unflatten(1, (layout.num_frames, -1)) for x in tokens]
    video = function(*frames, *(v[:, : layout.num_frames].unsqueeze(2) for v in values)).flatten(1, 2)
    if tokens[0].shape[1] == num_video:
        return video
    rest = function(*(x[:, num_video:] for x in tokens), *(v[:, layout.num_frames :] for v in values))
    return torch.cat([video, rest], dim=1)


def whole_groups(values: Tensor, layout: Layout, num_tokens: int) -> Tensor:
    """Values b g …, the last of which is for all tokens behind the frames, repeated so that `by_group` copies nothing.

    As they are where those tokens do not fill whole frames, or one value is for all.
    """
    if num_tokens % layout.per_frame or values.shape[1] == 1:
        return values
    groups = num_tokens // layout.per_frame - layout.num_frames
    return torch.cat([values, values[:, -1:].expand(-1, max(groups - 1, 0), *values.shape[2:])], dim=1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """X · (1 + scale) + shift."""
    return torch.addcmul(shift, x, 1 + scale)


def modulated(norm: PlainLayerNorm, x: Tensor, layout: Layout, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalised, scaled and shifted; x: b n d; shift, scale: b g d, groups as in `by_group`; 1 1 d costs no step."""
    if shift.shape[:2] == (1, 1):
        return norm.scaled(x, 1 + scale[0, 0], shift[0, 0])
    return by_group(layout, modulate, (norm(x),), (shift, scale))


def add_gated(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    """X + gate · update."""
    return torch.addcmul(x, update, gate)


def add_to_first(x: Tensor, update: Tensor) -> Tensor:
    """X with an update of its first tokens; in x itself where no gradient is asked for, so that nothing is copied."""
    count = update.shape[1]
    if not torch.is_grad_enabled():
        x[:, :count].add_(update)
        return x
    first = x[:, :count] + update
    return first if x.shape[1] == count else torch.cat([first, x[:, count:]], dim=1)


class DiTBlock(nn.Module):
    """Self-attention, text cross-attention, feed-forward, with adaLN-zero per frame.

    Only video tokens ask the text: global and context tokens have read it already (our choice).
    Source: the order of PixArt, Open-Sora and Wan, the cross-attention family that both papers build on; one shared
    modulation network with a learned table a block, as adaLN-single there.
    """

    def __init__(self, *, width: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm = PlainLayerNorm(width)
        self.attention = Attention(width=width, num_heads=num_heads)
        self.text_norm = nn.LayerNorm(width, eps=1e-6)
        self.text_attention = Attention(width=width, num_heads=num_heads)
        self.mlp = feed_forward(width, int(width * mlp_ratio), GELU())
        self.table = nn.Parameter(torch.zeros(6, width))

    def forward(
        self,
        x: Tensor,
        layout: Layout,
        modulation: Tensor,
        rotation: Rotation,
        key_mask: Tensor | None,
        text: Tensor | KeyValue,
        text_mask: Tensor | None,
        memory: KeyValue | None = None,
        attend: Attend | None = None,
    ) -> Tensor:
        """x: b n d; modulation: b g 6 d, groups as in `by_group`; key_mask: b n or None; text: b l d, or what
        `text_keys` made of it; text_mask: b l.

        modulation may be 1 1 6 d, where all tokens share a time. memory: what `key_values` gave for p context tokens;
        key_mask is then b n+p. attend: as in Attention.
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (modulation + self.table).unbind(2)
        y = modulated(self.norm, x, layout, shift, scale)
        x = by_group(layout, add_gated, (x, self.attention(y, y, key_mask, rotation, None, memory, attend)), (gate,))
        video = x[:, : layout.num_frames * layout.per_frame]
        x = add_to_first(x, self.text_attention.ask(self.text_norm(video), text, text_mask))
        y = modulated(self.norm, x, layout, mlp_shift, mlp_scale)
        return by_group(layout, add_gated, (x, self.mlp(y)), (mlp_gate,))

    def text_keys(self, text: Tensor) -> KeyValue:
        """Keys and values of a text b l d, which no step and no window changes."""
        return self.text_attention.keys_of(text)

    def key_values(self, x: Tensor, modulation: Tensor, rotation: Rotation) -> tuple[Tensor, KeyValue]:
        """Context tokens b n d through the block, seeing one another alone, and their keys and values.

        modulation: 6 d, of clean time. They ask no text: it is in them already.
        """
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (modulation + self.table).unbind(0)
        mixed, key_value = self.attention.key_values(modulate(self.norm(x), shift, scale), rotation)
        x = add_gated(x, mixed, gate)
        return add_gated(x, self.mlp(modulate(self.norm(x), mlp_shift, mlp_scale)), mlp_gate), key_value
