"""Attention with normalised queries and keys.

Axes: b batch, n tokens, k heads, d width, m tokens that are attended to.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from networks.rope import Rotation, rotate

KeyValue = tuple[Tensor, Tensor]
"""Keys and values of one layer, b heads n d/heads each."""

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values, b heads n d/heads each, to what the tokens take from one another, in that shape."""


PLAIN_KEYS = 256
"""Up to so many keys a training step on a CPU is faster without the fused kernel, whose backward is slow there.

Measured in bfloat16 with 2 threads, forward and backward: 16 keys 6x, 64 keys 3x, 160 keys 2x, 320 keys 1x.
"""


def _plain_keys(key: Tensor) -> int:
    """Up to how many keys attention is written out."""
    return PLAIN_KEYS if key.device.type == "cpu" and torch.is_grad_enabled() else 0


def scaled_dot_product(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of b k n d to b k m d; mask: broadcastable to b k n m, True where attended."""
    if key.shape[2] <= _plain_keys(key):
        scores = (query * query.shape[-1] ** -0.5) @ key.mT
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        return torch.softmax(scores.float(), dim=-1).to(value.dtype) @ value
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class HeadNorm(nn.RMSNorm):
    """RMSNorm of a head, whose gain is of its input's type: torch has fused kernels for equal types alone.

    Under autocast weights are float32 and the input is not.
    """

    def forward(self, x: Tensor) -> Tensor:
        """x: any shape, with the head's width last."""
        assert self.weight is not None
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class Attention(nn.Module):
    """Multi-head attention with QK-RMSNorm; self-attention when queries and keys are the same tokens.

    Source: QK-RMSNorm with a learned gain per channel as in the DiTs of both papers' families; our choice.
    """

    def __init__(self, *, width: int, num_heads: int, qk_gain: float = 1.0) -> None:
        """qk_gain: initial gain of the normalised queries and keys."""
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width {width} is not a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.to_query = nn.Linear(width, width)
        self.to_key_value = nn.Linear(width, 2 * width)
        self.query_norm = HeadNorm(width // num_heads, eps=1e-6)
        self.key_norm = HeadNorm(width // num_heads, eps=1e-6)
        nn.init.constant_(self.query_norm.weight, qk_gain)
        nn.init.constant_(self.key_norm.weight, qk_gain)
        self.out = nn.Linear(width, width)

    def _heads(
        self, queries: Tensor, keys: Tensor, rotation: Rotation | None, key_rotation: Rotation | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        query = self.to_query(queries).unflatten(-1, (self.num_heads, -1))
        key, value = self.to_key_value(keys).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        query = self.query_norm(query).to(value.dtype).transpose(1, 2)  # normalised as they lie: faster
        key = self.key_norm(key).to(value.dtype).transpose(1, 2)
        if rotation is not None:
            query = rotate(query, rotation)
            key = rotate(key, rotation if key_rotation is None else key_rotation)
        return query, key, value.transpose(1, 2)

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        key_mask: Tensor | None = None,
        rotation: Rotation | None = None,
        key_rotation: Rotation | None = None,
        memory: KeyValue | None = None,
        attend: Attend | None = None,
    ) -> Tensor:
        """queries: b n d; keys: b m d; rotation: of queries, and of keys where they have none of their own.

        memory: keys and values that are attended to beside these, b heads p d/heads each, rotated already.
        key_mask: b m+p, True where attended. attend: in place of softmax attention, without mask and memory.
        """
        query, key, value = self._heads(queries, keys, rotation, key_rotation)
        if attend is not None:
            return self.out(attend(query, key, value).transpose(1, 2).flatten(2))
        if memory is not None:
            key, value = torch.cat([key, memory[0]], dim=2), torch.cat([value, memory[1]], dim=2)
        return self._mix(query, key, value, key_mask)

    def keys_of(self, keys: Tensor) -> KeyValue:
        """What `ask` takes of keys b m d, without a place."""
        key, value = self.to_key_value(keys).unflatten(-1, (2, self.num_heads, -1)).unbind(2)
        return self.key_norm(key).to(value.dtype).transpose(1, 2), value.transpose(1, 2)

    def ask(self, queries: Tensor, keys: Tensor | KeyValue, key_mask: Tensor | None) -> Tensor:
        """Cross-attention of queries b n d to keys b m d, or to what was made of them before; key_mask: b m."""
        if isinstance(keys, Tensor):
            return self(queries, keys, key_mask)
        query = self.to_query(queries).unflatten(-1, (self.num_heads, -1))
        query = self.query_norm(query).to(keys[1].dtype).transpose(1, 2)
        return self._mix(query, *keys, key_mask)

    def key_values(self, tokens: Tensor, rotation: Rotation) -> tuple[Tensor, KeyValue]:
        """Self-attention of tokens b n d, and the keys and values that others may attend to later."""
        query, key, value = self._heads(tokens, tokens, rotation, None)
        return self._mix(query, key, value, None), (key, value)

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None) -> Tensor:
        mask = None if key_mask is None else key_mask[:, None, None]
        return self.out(scaled_dot_product(query, key, value, mask).transpose(1, 2).flatten(2))

    def attention_map(self, queries: Tensor, keys: Tensor) -> Tensor:
        """The weights b k n m that `forward` uses without mask and rotation; for looking at, not for training."""
        query, key, _ = self._heads(queries, keys, None, None)
        return torch.softmax(query.float() @ key.float().mT * query.shape[-1] ** -0.5, dim=-1)
