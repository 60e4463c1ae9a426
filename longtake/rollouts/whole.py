"""The canvas in one piece."""

from typing import Literal

from torch import Tensor

from longtake.rollouts.interfaces import Canvas, Generate


class Whole:
    """`rollout=whole` (the network on the whole canvas; with network=vin, chunks in parallel) and `rollout=full`.

    `full` calls the backbone alone: full attention over every frame, the baseline that VIN saves FLOPs against.
    """

    def __init__(self, *, network_part: Literal["", "backbone"]) -> None:
        """network_part: "" for the network as it is, "backbone" for its DiT alone."""
        self.network_part = network_part

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Denoises everything at once: b c f h w."""
        return generate(canvas.noise, canvas.condition, None)
