"""Attention to keys that lie in several processes: each asks its own, and what they found is merged.

Axes: b batch, k heads, n queries, m keys, d width of a head.
"""

import torch
from torch import Tensor

from networks.attention import Attend
from networks.processes import Processes

KEYS_AT_ONCE = 4096
"""Keys whose scores are written out together, in float32: what bounds memory, whatever the length of a video."""


def shared_attention(processes: Processes, key_mask: Tensor | None) -> Attend:
    """Softmax attention of queries that all processes have to the keys of all of them.

    Exact but for rounding: a process's result counts by the sum of its exponentials, whose logarithm goes with it.

    Args:
        processes: each with keys of its own, at least one, which may be masked.
        key_mask: b m, True where a key of this process is attended to; None where all are.

    Returns:
        A function of queries, keys and values to the same result in all processes.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        mixed, logarithm = attend_to_part(query, key, value, key_mask)
        found = processes.gather(torch.cat([mixed, logarithm], dim=-1))
        return merge(found[..., :-1], found[..., -1:])[0].to(value.dtype)

    return attend


def attend_to_part(query: Tensor, key: Tensor, value: Tensor, key_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention to some of the keys, and how much they weigh beside others.

    Args:
        query: b k n d.
        key: b k m d, m at least 1.
        value: b k m d.
        key_mask: b m, True where attended; None for all.

    Returns:
        What the queries take from them, b k n d, and the logarithm of the sum of their exponentials, b k n 1; float32.
    """
    query = query.float() * query.shape[-1] ** -0.5
    found = []
    for first in range(0, key.shape[2], KEYS_AT_ONCE):
        some = slice(first, first + KEYS_AT_ONCE)
        scores = query @ key[:, :, some].float().mT
        if key_mask is not None:
            scores = scores.masked_fill(~key_mask[:, None, None, some], torch.finfo(scores.dtype).min)
        logarithm = scores.logsumexp(dim=-1, keepdim=True)
        found.append((scores.sub_(logarithm).exp_() @ value[:, :, some].float(), logarithm))
    mixed, logarithms = (torch.stack(parts) for parts in zip(*found, strict=True))
    return merge(mixed, logarithms)


def merge(mixed: Tensor, logarithms: Tensor) -> tuple[Tensor, Tensor]:
    """What attention to all keys gives, from attention to some of them each.

    Args:
        mixed: p b k n d, of each part.
        logarithms: p b k n 1, of the sum of its exponentials.

    Returns:
        The same of all parts together, b k n d and b k n 1.
    """
    return (logarithms.softmax(dim=0) * mixed).sum(dim=0), logarithms.logsumexp(dim=0)
