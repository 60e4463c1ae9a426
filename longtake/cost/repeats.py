"""Equal blocks of a network, of which one is counted and the others are put down as the same."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

PLAIN = (bool, int, float, str, bytes, type(None), torch.dtype, torch.device, FunctionType)
"""Types of values that are compared by what they are; all else by its type and what it holds, or by identity."""

PLACES = ("target_name",)
"""Settings that say where a block stands: peft's layers keep their names."""


class Counts(Protocol):
    """What counts FLOPs and live bytes."""

    flops: int
    peak: int

    @property
    def now(self) -> int:
        """Bytes of what is alive."""


class _Output(NamedTuple):
    """Of a tensor that a block returns."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


class _Run(NamedTuple):
    """What one run of a block cost: FLOPs, bytes at its fullest moment above those before it, and what it returned."""

    flops: int
    bytes: int
    outputs: list[_Output | None]
    tree: Any


class Repeats:
    """While it is on, each kind of block of a network runs once for each kind of input, where no gradient is asked for.

    Further runs return tensors of the same sizes and are counted as the first one was. This is exact: on meta, sizes
    alone decide. A block whose output is a view, or that keeps a tensor for itself, runs each time. What was run is
    remembered from one count to the next, for as long as the network stays as it is; there is one count at a time.
    """

    counts: Counts
    """Is read around the first run, and added to at each further one."""

    def __init__(self, network: nn.Module) -> None:
        """network: on meta, in the mode in which it is called."""
        self._kinds = dict(_equal_blocks(network))
        of_others = (part for part in network.modules() if hasattr(part, "around_block"))
        self._runners = [(part, part.around_block) for part in of_others]
        self._runs: dict[Hashable, _Run | None] = {}
        self._held: list[Any] = []  # what is told apart by its identity lives as long as that is compared

    def start(self) -> None:
        """Takes the place of the blocks' `forward`, and of what runs blocks that are not ours."""
        for block, kind in self._kinds.items():
            block.__dict__["forward"] = partial(self._call, kind, block.forward)
        for part, _ in self._runners:
            part.around_block = self._around  # type: ignore[assignment]

    def stop(self) -> None:
        """Gives both back."""
        for block in self._kinds:
            del block.__dict__["forward"]
        for part, before in self._runners:
            part.around_block = before

    def _around(self, block: nn.Module, function: Callable[..., Any], *args: Any) -> Any:
        """Runs a function of a block, which may be among the arguments: there it stands for its kind."""
        if block not in self._kinds:
            return function(*args)
        others = [each for each in args if each is not block]
        return self._call((self._kinds[block], function), lambda *_: function(*args), *others)

    def _call(self, kind: Hashable, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled():
            return forward(*args, **kwargs)
        key = kind, _kind_of((args, kwargs), self._held)
        if key not in self._runs:
            return self._first(key, forward, args, kwargs)
        run = self._runs[key]
        if run is None:
            return forward(*args, **kwargs)
        counts = self.counts
        counts.flops += run.flops
        counts.peak = max(counts.peak, counts.now + run.bytes)
        made = [
            None if x is None else torch.empty_strided(x.shape, x.stride, dtype=x.dtype, device="meta")
            for x in run.outputs
        ]
        return tree_unflatten(made, run.tree)

    def _first(self, key: Hashable, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        counts = self.counts
        flops, now, peak = counts.flops, counts.now, counts.peak
        counts.peak = now
        made = forward(*args, **kwargs)
        fullest = counts.peak
        counts.peak = max(peak, fullest)
        outputs, tree = tree_flatten(made)
        # Its outputs are all that it leaves behind, each in a storage of its own.
        tensors = [x for x in outputs if isinstance(x, Tensor)]
        alone = all(x is None or isinstance(x, Tensor) for x in outputs)
        if alone and counts.now - now == sum(x.numel() * x.element_size() for x in tensors):
            left = [None if x is None else _Output(tuple(x.shape), x.stride(), x.dtype) for x in outputs]
            self._runs[key] = _Run(counts.flops - flops, fullest - now, left, tree)
        else:
            self._runs[key] = None
        return made


def _equal_blocks(network: nn.Module) -> Iterator[tuple[nn.Module, Hashable]]:
    """Blocks in lists of layers that have their like, each with its kind, and parts with layers, each by itself."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    kinds = {block: _kind_of_block(block) for layers in lists for block in layers}
    numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds.values()))}
    alike = Counter(kinds.values())
    for block, kind in kinds.items():
        if alike[kind] > 1:
            yield block, numbers[kind]
    for part in network.modules():
        if part not in kinds and part is not network and any(x in lists for x in part.children()):
            yield part, part


def _kind_of_block(block: nn.Module) -> Hashable:
    tensors = [(name, x.shape, x.dtype) for name, x in (*block.named_parameters(), *block.named_buffers())]
    own = [(name, type(module), _settings(module)) for name, module in block.named_modules()]
    return tuple(tensors), tuple(own)


def _settings(module: nn.Module) -> Hashable:
    own = {name: value for name, value in vars(module).items() if name not in _OF_MODULES}
    return _kind_of(own, [])  # what is compared by identity lives as long as the module


_OF_MODULES = frozenset(vars(nn.Module())) - {"training"}
"""What every module has; its parameters, buffers and parts are compared one by one."""


def _kind_of(value: Any, held: list[Any]) -> Hashable:
    """What is the same for all values that cost the same; tensors are their sizes.

    Args:
        value: an argument or a setting of a block.
        held: is given what is compared by identity, which must not be freed meanwhile.

    Returns:
        Sizes, plain values and types, at any depth.
    """
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Mapping):
        return type(value), tuple((key, _kind_of(each, held)) for key, each in value.items() if key not in PLACES)
    if isinstance(value, Sequence):
        return type(value), tuple(_kind_of(each, held) for each in value)
    if isinstance(value, MethodType):
        held.append(value.__self__)
        return value.__func__, id(value.__self__)
    if getattr(value, "__dict__", None) == {} and not isinstance(
        value, partial
    ):  # as diffusers' attention processors, one for each block
        return (type(value),)
    held.append(value)
    return type(value), id(value)
