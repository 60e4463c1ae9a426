"""PyTorch's dispatch, tested on 2.11.0 and 2.14.1: FLOPs and live bytes of operators on the device `meta`.

There an operator's result has sizes alone, so that operators of the same inputs are carried out once a process.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from longtake.compat.live import LiveBytes
from longtake.compat.torch import flop_counter

MOST_REMEMBERED = 100_000
"""Operators whose results are remembered, of some 1 kB each; at more all are forgotten. Source: our choice."""
SIZELESS = frozenset(
    getattr(torch.ops.aten, name)
    for name in (
        *("sym_is_contiguous", "is_contiguous", "is_strides_like_format", "is_non_overlapping_and_dense", "dim"),
        *("size", "sym_size", "stride", "sym_stride", "storage_offset", "sym_storage_offset", "numel", "sym_numel"),
    )
    if hasattr(torch.ops.aten, name)
)
"""Questions after a tensor's sizes, which are left to PyTorch."""
PLAIN = (int, float, str, torch.dtype, torch.device, torch.layout, torch.memory_format, type(None))
"""Types of an operator's arguments that are compared by what they are; of bool too, which is an int."""


class _Made(NamedTuple):
    """A tensor that an operator makes, in a storage of its own."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def again(self) -> Tensor:
        """A tensor like it."""
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=_META)


class _Result(NamedTuple):
    """What an operator gives. flops: of it; form: the sequence's type, None for one tensor; made: its tensors.

    changed: whether it gives its first input, whose sizes stay as they are.
    """

    flops: int
    form: type | None
    made: list[_Made | None]
    changed: bool = False


_remembered: dict[Any, _Result | None] = {}
_views: dict[Any, bool] = {}
"""Of operators that are known not to be made of others: whether they run each time, since they return views."""
_UNKNOWN = object()
_META = torch.device("meta")


class _NotPlainError(Exception):
    """An operator's arguments cannot be compared by sizes and values."""


class CountedSizes(LiveBytes):
    """Inside, `flops` are added up and `peak` follows every tensor that is made.

    FLOPs are those of `longtake.compat.torch.flop_counter`. An operator on tensors on meta runs for the first inputs of
    their sizes; later ones are given tensors of the same sizes. This is exact for operators whose results are new
    tensors, and for those that change the values of their first input alone. Views, what changes other inputs or sizes,
    and what looks at values run each time.
    """

    def __init__(self, known: Any = ()) -> None:
        """known: tensors that operators inside may return views of."""
        super().__init__(known)
        self.flops = 0
        self._formulas: dict[Any, Callable[..., int]] = flop_counter().flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator or remembers its result, and counts both."""
        kwargs = kwargs or {}
        if func not in _views:
            packet = func.overloadpacket
            if packet in SIZELESS:
                return NotImplemented
            if packet not in self._formulas and func is not torch.ops.prim.device.default:
                with self:
                    made = func.decompose(*args, **kwargs)
                if made is not NotImplemented:
                    return made
            aliases = [each.alias_info for each in func._schema.returns]
            _views[func] = any(each is not None and not each.is_write for each in aliases)
        if _views[func]:
            return self._count(func, func(*args, **kwargs), args, kwargs)
        # Sizes are asked for without the function modes that are on, each of which would be called for each question.
        with torch._C.DisableTorchFunction():
            key = _key_of(func, args, kwargs)
            result = _remembered.get(key, _UNKNOWN) if key is not None else None
            if isinstance(result, _Result):
                self.flops += result.flops
                if result.changed:
                    return args[0]
                out = [
                    None if x is None else torch.empty_strided(*x[:2], dtype=x.dtype, device=_META) for x in result.made
                ]
                self.follow(out)
                return out[0] if result.form is None else result.form(out)
        if result is _UNKNOWN:
            return self._first(key, func.overloadpacket, func, args, kwargs)
        return self._count(func, func(*args, **kwargs), args, kwargs)

    def _first(self, key: Any, packet: Any, func: Any, args: Any, kwargs: Any) -> Any:
        before = self.flops
        out = self._count(func, func(*args, **kwargs), args, kwargs)
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        flops = self.flops - before
        if func._schema.is_mutable:
            changed = out is args[0] and _written(func) == [0] and key == _key_of(func, args, kwargs)
            _remembered[key] = _Result(flops, None, [], changed=True) if changed else None
        else:
            _remembered[key] = _result_of(flops, out, (args, tuple(kwargs.values())))
        return out

    def _count(self, func: Any, out: Any, args: Any, kwargs: Any) -> Any:
        with torch._C.DisableTorchFunction():
            if formula := self._formulas.get(func.overloadpacket):
                self.flops += formula(*args, **kwargs, out_val=out)
            self.follow(out if isinstance(out, list | tuple) else [out])
        return out


def _written(func: Any) -> list[int]:
    """Places of the arguments that an operator changes."""
    aliases = [each.alias_info for each in func._schema.arguments]
    return [place for place, each in enumerate(aliases) if each is not None and each.is_write]


def _result_of(flops: int, out: Any, inputs: Any) -> _Result | None:
    """None for what cannot be made again from its sizes: views of the inputs, and what lies elsewhere than on meta."""
    form = type(out) if isinstance(out, list | tuple) else None
    if form not in (None, list, tuple):
        return None
    made: list[_Made | None] = []
    storages = {x.untyped_storage()._cdata for x in _tensors(inputs)}
    for x in [out] if form is None else out:
        if x is None and form is not None:
            made.append(None)
            continue
        if type(x) is not Tensor or x.device.type != "meta" or x.storage_offset():
            return None
        storage = x.untyped_storage()
        alike = torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")
        if storage._cdata in storages or storage.nbytes() != alike.untyped_storage().nbytes():
            return None
        storages.add(storage._cdata)
        made.append(_Made(tuple(x.shape), x.stride(), x.dtype))
    return _Result(flops, form, made)


def _key_of(func: Any, args: Any, kwargs: Any) -> Any:
    """What tells an operator's result on meta; None where sizes and plain values do not."""
    try:
        return func, torch.get_default_dtype(), _kind_of(args), _kind_of(tuple(kwargs.items()))
    except _NotPlainError:
        return None


def _kind_of(values: Any) -> Any:
    """What decides an operator's result on meta: sizes of tensors, and all other arguments with their types."""
    found: list[Any] = []
    for x in values:
        if isinstance(x, Tensor):
            if not x.is_meta or type(x) not in (Tensor, nn.Parameter):  # other kinds answer for themselves
                raise _NotPlainError
            found.append((x.shape, x.stride(), x.dtype))
        elif isinstance(x, PLAIN):
            found.append((type(x), x))
        elif isinstance(x, list | tuple):
            found.append(_kind_of(x))
        else:
            raise _NotPlainError
    return tuple(found)


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for x in values:
        if isinstance(x, Tensor):
            found.append(x)
        elif isinstance(x, list | tuple):
            found += _tensors(x)
    return found
