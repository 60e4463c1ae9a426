"""Which frames of a canvas each of several processes holds, where none holds all of them.

Axes: b batch, c channels, f frames, h height, w width.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor

from networks.processes import Processes


class Span(NamedTuple):
    """Frames of a canvas, from `first` to before `end`."""

    first: int
    end: int

    def shared(self, other: "Span") -> "Span":
        """The frames that are in both; none where end is not behind first."""
        return Span(max(self.first, other.first), min(self.end, other.end))

    def within(self, other: "Span") -> slice:
        """Where they lie among the frames of another span that has them."""
        return slice(self.first - other.first, self.end - other.first)


class Parts:
    """Each process holds the frames of its windows; a frame that windows of two processes have is held by both."""

    def __init__(self, processes: Processes, held: Sequence[Span]) -> None:
        """Sets who holds what.

        Args:
            processes: that share the canvas out, of which this is one.
            held: the frames of each, in the order of their ranks; each ends behind the one before.
        """
        assert all(one.end < other.end and other.first <= one.end for one, other in pairwise(held)), held
        self.processes, self.held = processes, tuple(held)
        ends = [0, *(span.end for span in held)]
        self.owned = tuple(Span(*pair) for pair in pairwise(ends))
        """The frames of each that it alone answers for: behind those of the process before."""

    @property
    def num_frames(self) -> int:
        """Of the canvas."""
        return self.held[-1].end

    @property
    def own(self) -> Span:
        """What this process holds."""
        return self.held[self.processes.rank]

    @property
    def answers_for(self) -> Span:
        """What this process alone answers for."""
        return self.owned[self.processes.rank]

    def add_up(self, part: Tensor) -> Tensor:
        """The sum over the processes in each frame that this one holds, exchanged with those who hold it too.

        Args:
            part: b c f h w, what this process adds to the frames that it holds.

        Returns:
            The sums b c f h w, the same to the bit in all who hold a frame.
        """
        overlaps = {
            rank: shared
            for rank, span in enumerate(self.held)
            if rank != self.processes.rank and (shared := span.shared(self.own)).first < shared.end
        }
        taken = self.processes.trade({rank: part[:, :, each.within(self.own)] for rank, each in overlaps.items()})
        total = part.new_zeros(part.shape)
        for rank in range(self.processes.size):  # in one order for all
            if rank == self.processes.rank:
                total += part
            elif rank in overlaps:
                total[:, :, overlaps[rank].within(self.own)] += taken[rank]
        return total

    def join(self, part: Tensor) -> Tensor:
        """The whole canvas, in every process.

        Args:
            part: b c f h w, the frames that this process holds.

        Returns:
            All frames, b c f h w.
        """
        whole = part.new_empty(*part.shape[:2], self.num_frames, *part.shape[3:])
        for rank, span in enumerate(self.owned):
            piece = whole[:, :, span.within(Span(0, self.num_frames))]
            if rank == self.processes.rank:
                piece.copy_(part[:, :, span.within(self.own)])
            piece.copy_(self.processes.from_one(rank, piece.contiguous()))
        return whole


class Part(NamedTuple):
    """What a condition says where the canvas is not whole.

    origin: b 1, the frame_index of the canvas's first frame.
    """

    parts: Parts
    origin: Tensor


def shares_of(processes: Processes, windows: Sequence[Span]) -> Parts | None:
    """The frames that each process needs for its windows.

    Args:
        processes: that share the windows out.
        windows: of a canvas, in order.

    Returns:
        The parts; None for one process, or where some process would have no window: then each holds the whole canvas.
    """
    if not 1 < processes.size <= len(windows):
        return None
    shares = (windows[Processes(rank, processes.size).share(len(windows))] for rank in range(processes.size))
    return Parts(processes, [Span(min(one.first for one in own), own[-1].end) for own in shares])
