"""PyTorch, tested on 2.11.0 and 2.14.1: a FLOP counter that says the same on both.

FLOPs follow FlopCounterMode's rule: a multiplication and an addition are two, matrix products and convolutions alone
are counted, and a mask does not make attention cheaper.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from networks.processes import LostProcess

Shape = Sequence[int]


def attention_flops(query: Shape, key: Shape, value: Shape, *_: Any, out_shape: Any = None, **__: Any) -> int:
    """FLOPs of scaled dot-product attention, from the shapes b h n d of its query, key and value.

    out_shape: given by FlopCounterMode, not needed.
    """
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (width + value[-1])


def attention_backward_flops(grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """FLOPs of the backward pass of a fused attention, which computes the scores again: five products of matrices.

    grad: the shape of the output's gradient; query, key, value: theirs, all b h n d.
    """
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[-2] * (3 * width + 2 * value[-1])


_FUSED = ("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_fused_attention_overrideable")
"""Fused attention of CPUs and of other backends; versions differ in whether FlopCounterMode knows or takes it apart."""


def flop_counter() -> FlopCounterMode:
    """A context in which FLOPs are counted, equally on each supported version and device.

    Read `get_total_flops()` afterwards. The operators still run: on the device `meta` they cost nothing.
    """
    formulas: dict[Any, Any] = {}
    for name in _FUSED:
        if hasattr(torch.ops.aten, name):
            formulas[getattr(torch.ops.aten, name)] = attention_flops
        if hasattr(torch.ops.aten, f"{name}_backward"):
            formulas[getattr(torch.ops.aten, f"{name}_backward")] = attention_backward_flops
    return FlopCounterMode(display=False, custom_mapping=formulas)


def backward(loss: torch.Tensor) -> None:
    """The backward pass of a scalar, inside of the function modes that are on.

    `loss.backward()` is a function too: it would run without them, and so would checkpoints that run again in it.
    """
    engine: Any = torch.autograd.Variable._execution_engine
    options = {"allow_unreachable": True, "accumulate_grad": True}
    engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), **options)


def next_number(key: str) -> int:
    """A whole number from 0 on that no other process of the run has been given for this key.

    torch.distributed keeps the store by which its processes met, and offers no public way to it.

    Args:
        key: what is counted.

    Returns:
        The number.

    Raises:
        LostProcess: if the process that keeps it has ended.
    """
    store = torch.distributed.distributed_c10d._get_default_store()
    try:
        return int(store.add(key, 1)) - 1
    except RuntimeError as error:
        raise LostProcess(f"the process that keeps numbers has ended ({' '.join(str(error).split())[:120]})") from error
