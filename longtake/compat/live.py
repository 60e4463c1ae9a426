"""PyTorch's dispatch, tested on 2.11.0 and 2.14.1: bytes of tensors alive at once, counted as they are made and freed.

No allocator stands in between; on the device `meta` tensors have sizes and no memory.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Followed(weakref.ref[torch.UntypedStorage]):
    """A storage that is alive, and where its size is put down."""

    __slots__ = ("key",)

    def __new__(cls, storage: torch.UntypedStorage, freed: Callable[[Any], None], _: int) -> "_Followed":
        return super().__new__(cls, storage, freed)

    def __init__(self, storage: torch.UntypedStorage, freed: Callable[[Any], None], key: int) -> None:
        super().__init__(storage, freed)  # type: ignore[call-arg]
        self.key = key


class LiveBytes(TorchDispatchMode):
    """Inside, `peak` follows every tensor that is made; what was there before, given as `known`, does not count."""

    def __init__(self, known: Iterable[Tensor] = ()) -> None:
        """known: tensors that operators inside may return views of."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = list(known)
        self.sizes = {x.untyped_storage()._cdata: 0 for x in self.known}
        self.now = self.peak = 0
        self._alive: dict[int, _Followed] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled inside: PyTorch need not load its compiler, in a second or two, to keep it away."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Runs an operator, and counts the storages that it made."""
        made = func(*args, **(kwargs or {}))
        self.follow(tree_leaves(made))
        return made

    def follow(self, made: Iterable[Any]) -> None:
        """Counts the storages of what was made, until they are freed."""
        for x in made:
            if not isinstance(x, Tensor):
                continue
            storage = x.untyped_storage()
            if (key := storage._cdata) not in self.sizes:
                self.sizes[key] = storage.nbytes()
                self.now += self.sizes[key]
                self._alive[key] = _Followed(storage, self._free, key)
        self.peak = max(self.peak, self.now)

    def _free(self, followed: _Followed) -> None:
        del self._alive[followed.key]
        self.now -= self.sizes.pop(followed.key)
