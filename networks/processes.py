"""Processes that share out equal work, such as the windows of a canvas, and put what they made together."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Thing = TypeVar("Thing")


class LostProcess(RuntimeError):
    """Another process of the run has ended in the middle of it."""


class Processes:
    """Some processes of a run, of which this is one. Every method is called by all of them, in the same order."""

    def __init__(self, rank: int = 0, size: int = 1, group: Any = None) -> None:
        """rank: of this one among `size`; group: of torch.distributed, in the order of their ranks."""
        self.rank, self.size, self.group = rank, size, group

    def __deepcopy__(self, memo: dict[int, Any]) -> "Processes":
        """Itself: a copy of a network is run by the same processes."""
        return self

    def share(self, count: int) -> slice:
        """Which of `count` things in a row are this process's: as many as the others', or one more or less."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """The sum of each tensor over the processes; parts: of one shape and type, the same in all processes."""
        if self.size == 1:
            return parts
        joined = torch.stack(parts)
        _exchange(lambda: dist.all_reduce(joined, group=self.group))
        return joined.unbind()

    def sum_and_back(self, part: Tensor) -> Tensor:
        """The sum over the processes, through which gradients go back; part: of one shape, the same in all processes.

        What each process makes of the sum has gradients of its own, and those of all are added up on their way back.
        So a mean of gradients over the processes, as DDP and FSDP take it, is the gradient of one process alone.
        """
        if self.size == 1:
            return part
        summed: Tensor = _SumAndBack.apply(part, self.group)
        return summed

    def gather(self, part: Tensor) -> Tensor:
        """The tensors of all processes in the order of their ranks, p ...; part: of one shape and type in all."""
        if self.size == 1:
            return part.unsqueeze(0)
        found = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.size)]
        _exchange(lambda: dist.all_gather(found, part.contiguous(), group=self.group))
        return torch.stack(found)

    def from_one(self, rank: int, part: Tensor) -> Tensor:
        """What the process of a rank has, in all of them; part: contiguous, of one shape and type, overwritten."""
        if self.size > 1:
            _exchange(lambda: dist.broadcast(part, group=self.group, group_src=rank))
        return part

    def trade(self, given: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Gives tensors to processes by their ranks, and takes of each of these one of the same shape and type."""
        taken = {rank: torch.empty_like(x, memory_format=torch.contiguous_format) for rank, x in given.items()}
        operations = []
        for rank, part in given.items():
            peer = dist.get_global_rank(self.group, rank)
            operations += [
                dist.P2POp(dist.isend, part.contiguous(), peer, self.group),
                dist.P2POp(dist.irecv, taken[rank], peer, self.group),
            ]
        if operations:
            _exchange(lambda: [each.wait() for each in dist.batch_isend_irecv(operations)])
        return taken

    def wait(self) -> None:
        """Until all of them are here."""
        if self.size > 1:
            _exchange(lambda: dist.barrier(group=self.group))

    def agree(self, say: Callable[[], Thing]) -> Thing:
        """What the first process says, in all of them: numbers, texts, or tensors in host memory."""
        if self.size == 1:
            return say()
        said = [say() if self.rank == 0 else None]
        _exchange(lambda: dist.broadcast_object_list(said, group=self.group, group_src=0))
        return said[0]  # type: ignore[return-value]


class _SumAndBack(torch.autograd.Function):
    """The sum over the processes, and that of its gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _summed(part, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _summed(grads[0], ctx.group), None


def _summed(part: Tensor, group: Any) -> Tensor:
    total = part.clone(memory_format=torch.contiguous_format)
    _exchange(lambda: dist.all_reduce(total, group=group))
    return total


ALONE = Processes()
"""One process, that does everything."""


class Meetings:
    """Lets processes wait for those that have more to do: they meet at each step, so none waits longer than a step.

    A collective that some processes come to late ends the run after the timeout of torch.distributed, however well all
    is. Each process says `step` as often as it likes, and then once `rest`, which ends when all of them rest.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        """processes: all that meet; device: of their numbers, where their backend exchanges tensors."""
        self.processes, self.device = processes, device

    def step(self, *_: Any) -> None:
        """Tells the others that this process goes on; it waits until they have heard, and for no answer."""
        self._meet(working=True)

    def rest(self) -> None:
        """Until no process works any more.

        Raises:
            LostProcess: if one of them has ended.
        """
        while self._meet(working=False):
            pass

    def _meet(self, *, working: bool) -> bool:
        """Whether any works, which the device is asked for by those alone that do not."""
        if self.processes.size == 1:
            return False
        count = torch.full((1,), float(working), device=self.device)
        (total,) = self.processes.sum(count)
        return working or bool(total.item())


def _exchange(communicate: Callable[[], object]) -> None:
    try:
        communicate()
    except RuntimeError as error:  # the library's words for a closed connection differ by backend
        raise LostProcess(f"another process of this run has ended ({' '.join(str(error).split())[:120]})") from error
