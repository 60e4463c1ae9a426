"""FLOPs and bytes of calls of a network, counted on the device `meta`, where tensors are sizes alone.

Axes: b batch, k heads, n tokens, d width of a head.
"""

import copy
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from longtake.compat.sizes import CountedSizes
from longtake.compat.torch import attention_flops
from longtake.cost.repeats import Repeats
from networks.pretrained.quantized import plain

Module = TypeVar("Module", bound=nn.Module)


class Cost(NamedTuple):
    """FLOPs of a call, and bytes of the tensors that it makes, at its fullest moment."""

    flops: int
    bytes: int


class Counting:
    """Counts what is called inside, on tensors on `meta`.

    A product and a sum are two FLOPs; matrix products and convolutions alone are counted, as PyTorch's FlopCounterMode
    counts them: norms, rotations and activations are not. Attention is taken as fused, so that its matrix is never
    whole; a CPU writes it out for few keys in training (networks.attention.PLAIN_KEYS).
    A framework's own needs come on top: its libraries, scratch space of its kernels, and what its allocator leaves in
    gaps (of glibc half as much again and more; see benchmarks/README.md).
    """

    def __init__(self, known: Iterable[Tensor] = (), network: nn.Module | Repeats | None = None) -> None:
        """Nothing is counted yet.

        Args:
            known: tensors that were there before, which are not counted.
            network: on meta, whose equal blocks are counted once, or what other counts know of it; None: every block is
                run.
        """
        self._sizes, self._attention = CountedSizes(known), FusedAttention()
        self._stack = ExitStack()
        self._repeats = Repeats(network) if isinstance(network, nn.Module) else network

    def __enter__(self) -> Self:
        """Begins to count."""
        for mode in (self._sizes, self._attention):
            self._stack.enter_context(mode)
        if self._repeats is not None:
            self._repeats.counts = self
            self._repeats.start()
            self._stack.callback(self._repeats.stop)
        return self

    def __exit__(self, *_: object) -> None:
        """Stops counting; the figures stay readable."""
        self._stack.close()

    @property
    def cost(self) -> Cost:
        """FLOPs and bytes that were counted so far."""
        return Cost(self.flops, self.peak)

    @property
    def flops(self) -> int:
        """FLOPs of products and attention so far, with those that were added for blocks that were not run."""
        return self._sizes.flops + self._attention.flops

    @flops.setter
    def flops(self, value: int) -> None:
        self._sizes.flops = value - self._attention.flops

    @property
    def now(self) -> int:
        """Bytes of what is alive."""
        return self._sizes.now

    @property
    def peak(self) -> int:
        """Bytes at the fullest moment."""
        return self._sizes.peak

    @peak.setter
    def peak(self, value: int) -> None:
        self._sizes.peak = value


class FusedAttention(TorchFunctionMode):
    """Attention that keeps its inputs, its output and a number for each query, as fused kernels do, and no matrix."""

    def __init__(self) -> None:
        """Begins at zero `flops`, of all attention inside."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Takes the place of the one function."""
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        query, key, value = args[:3]
        self.flops += attention_flops(query.shape, key.shape, value.shape)
        return _Fused.apply(query, key, value)  # type: ignore[no-untyped-call]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        # As kernels lay it out: heads of one token lie together.
        out = query.new_empty(*query.shape[:-1], value.shape[-1]).transpose(1, 2).contiguous().transpose(1, 2)
        ctx.save_for_backward(query, key, value, out, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(x) for x in ctx.saved_tensors[:3])


class MixedPrecision(TorchFunctionMode):
    """What autocast does, which knows no device `meta`: products in half precision, norms in float32."""

    _LOWER = frozenset(
        [
            *(F.linear, F.conv2d, F.conv3d, F.scaled_dot_product_attention),
            *(torch.matmul, torch.bmm, torch.einsum, Tensor.matmul, Tensor.__matmul__),
        ]
    )
    _FULL = frozenset((F.layer_norm, F.rms_norm, F.group_norm, F.softmax, torch.softmax, F.mse_loss))

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        """Casts the weights once; `known` holds the casts and what their gradients are added to, for the counter.

        Args:
            module: on meta, whose weights are cast once.
            dtype: type that they are cast to.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype = dtype
        self.casts = {}
        for weight in module.parameters():
            cast = weight.detach().to(dtype).requires_grad_(weight.requires_grad)
            cast.grad = torch.empty_like(cast) if weight.requires_grad else None
            self.casts[id(weight)] = cast
        self.known = [*self.casts.values(), *(x.grad for x in self.casts.values() if x.grad is not None)]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Casts floating-point arguments of the functions that autocast knows."""
        kwargs = kwargs or {}  # by which norms get their gains
        dtype = self.dtype if func in self._LOWER else torch.float32 if func in self._FULL else None
        if dtype is not None:
            args = [self._cast(x, dtype) for x in args]
            kwargs = {name: self._cast(x, dtype) for name, x in kwargs.items()}
        return func(*args, **kwargs)

    def _cast(self, x: Any, dtype: torch.dtype) -> Any:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            return x
        return self.casts[id(x)] if dtype == self.dtype and id(x) in self.casts else x.to(dtype)


def on_meta(module: Module) -> Module:
    """A copy of a module on the device `meta`, for which no memory is needed."""
    quantised = [part for part in module.modules() if isinstance(part, nn.Linear) and hasattr(part, "stored_bytes")]
    memo: dict[int, Any] = {id(part): plain(part) for part in quantised}
    known = {id(x) for part in quantised for x in part.parameters()}
    tensors: list[Tensor] = [*module.parameters(), *module.buffers()]
    for x in (each for each in tensors if id(each) not in known):
        empty = torch.empty_like(x, device="meta", requires_grad=False)
        memo[id(x)] = nn.Parameter(empty, requires_grad=x.requires_grad) if isinstance(x, nn.Parameter) else empty
    return copy.deepcopy(module, memo)
