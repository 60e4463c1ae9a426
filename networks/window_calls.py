"""Which windows of VIN a process denoises, call by call."""

from typing import NamedTuple

from networks.chunks import Windows, call_sizes, windows_of
from networks.processes import Processes


class Call(NamedTuple):
    """Windows of one size that are denoised at once.

    has_context: whether frames of the chunk before lead them; counts: whether their predictions are the canvas's.
    """

    windows: Windows
    has_context: bool
    counts: bool = True


def sampling_calls(plan: tuple[Windows, ...], processes: Processes, most: int) -> list[Call]:
    """The calls of this process.

    Args:
        plan: plan of the canvas.
        processes: among which the windows are shared out, as evenly as can be.
        most: windows of a call, 0 for all.

    Returns:
        Each call; none for a process without windows.
    """
    share = processes.share(_count(plan))
    calls = []
    for place, windows in enumerate(windows_of(plan, share)):
        sizes = call_sizes(len(windows.frames), most)
        parts = zip(*(x.split(sizes) for x in windows), strict=True)
        calls += [Call(Windows(*slots), has_context=place > 0) for slots in parts]
    return calls


def training_calls(plan: tuple[Windows, ...], processes: Processes, most: int, *, in_step: bool) -> list[Call]:
    """The calls of this process in training, where each process needs a gradient.

    Args:
        plan: plan of the canvas.
        processes: among which the windows are shared out.
        most: windows of a call, 0 for all.
        in_step: whether every process makes as many calls as the others, the last ones of which do not count, since
            the weights of a call are gathered from all.

    Returns:
        Each call.

    Raises:
        ValueError: if a process would be left without windows.
    """
    count = _count(plan)
    if processes.size > count:
        raise ValueError(
            f"trainer.strategy.chunks={processes.size} leaves processes without a window, since a canvas of training "
            f"has {count}: use {count} or fewer, or longer clips"
        )
    calls = sampling_calls(plan, processes, most)
    if in_step:
        every = (Processes(rank, processes.size) for rank in range(processes.size))
        last = calls[-1]
        idle = Call(Windows(*(x[:1] for x in last.windows)), last.has_context, counts=False)
        calls += [idle] * (max(len(sampling_calls(plan, each, most)) for each in every) - len(calls))
    return calls


def _count(plan: tuple[Windows, ...]) -> int:
    return sum(len(windows.frames) for windows in plan)
