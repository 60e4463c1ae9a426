"""What a rollout is going to do: numbers that whoever counts, checks, names or carries it out reads alike."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class RememberedSegment(NamedTuple):
    """A finished piece of the video that a canvas remembers through the network's compressor.

    start: its first frame, in latent frames from where the canvas's frames are counted; frames: its latent frames;
    compression_ratio: video tokens a context token; cuts: between it and the canvas, negative if it is seen earlier.
    """

    start: int
    frames: int
    compression_ratio: float
    cuts: int = 0


class CanvasPlan(NamedTuple):
    """Frames that are denoised together, in one run of the sampler.

    frames: the latent frame of the video that each slot of the canvas holds; those of empty slots may lie outside of
    the video. known: slots of clean frames, made by canvases before this one; empty: slots that hold no frame. All
    other slots are new, and what is made there becomes the video's. positions: the frame index that the network is told
    for each slot, where that is not the frame's own. remembered: segments in the network's memory. joins: latent frames
    at which windows merged inside the canvas follow one another; None: at the ends of the network's own chunks.
    """

    frames: tuple[int, ...]
    known: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()
    positions: tuple[int, ...] | None = None
    remembered: tuple[RememberedSegment, ...] = ()
    joins: tuple[int, ...] | None = ()

    @property
    def new(self) -> tuple[int, ...]:
        """Slots of the frames that the canvas adds to the video."""
        taken = {*self.known, *self.empty}
        return tuple(slot for slot in range(len(self.frames)) if slot not in taken)

    @property
    def new_frames(self) -> tuple[int, ...]:
        """Latent frames that the canvas adds to the video."""
        return tuple(self.frames[slot] for slot in self.new)


def check_plan(plan: Sequence[CanvasPlan], num_latents: int) -> None:
    """Checks that a plan makes every frame once, and only from frames that it has made before.

    Args:
        plan: canvases in the order in which they are denoised.
        num_latents: latent frames of the whole video.

    Raises:
        ValueError: if it does not.
    """
    made: set[int] = set()
    for number, canvas in enumerate(plan, 1):
        which, new = f"canvas {number} of the rollout's plan", canvas.new_frames
        seen = {canvas.frames[slot] for slot in canvas.known}
        for each in canvas.remembered:
            seen.update(range(each.start, each.start + each.frames))
        if missing := seen - made:
            raise ValueError(f"{which} knows latent frame {min(missing)} before a canvas has made it: make it earlier")
        if again := made.intersection(new):
            raise ValueError(f"{which} makes latent frame {min(again)} again: list its slot as known or empty")
        if list(new) != sorted(set(new)):
            raise ValueError(f"{which} has its new frames out of order or twice: list them as they rise")
        made.update(new)
    if wrong := made.symmetric_difference(range(num_latents)):
        raise ValueError(
            f"the rollout's plan does not make latent frames 0 to {num_latents - 1}, each once: {min(wrong)} is amiss"
        )


def chunk_boundaries(plan: Sequence[CanvasPlan], chunk_frames: int | None) -> list[int]:
    """Latent frames at which a new chunk, window or segment begins, all but the first: manifests and metrics use them.

    Two neighbours that different canvases made have a boundary between them, and so have windows inside a canvas.
    Attention in windows of its own has no such frame, since every frame has its windows around it: there, the places
    at which windows follow each other, which is where FreeNoise repeats its noise. Source: our choice.

    Args:
        plan: the rollout's, of the whole video.
        chunk_frames: latent frames of a chunk of the network, None where it sees a canvas at once.

    Returns:
        Latent frames from 1 on, as they rise.
    """
    maker = {frame: number for number, canvas in enumerate(plan) for frame in canvas.new_frames}
    found = {frame for frame, number in maker.items() if frame and maker.get(frame - 1) != number}
    for canvas in plan:
        found.update(_chunks(canvas.new_frames, chunk_frames) if canvas.joins is None else canvas.joins)
    return sorted(found)


def _chunks(frames: Sequence[int], chunk_frames: int | None) -> Iterable[int]:
    return () if chunk_frames is None else frames[chunk_frames::chunk_frames]


def consecutive(start: int, end: int) -> tuple[int, ...]:
    """Frames from start to before end."""
    return tuple(range(start, end))
