"""The canvas in one piece."""

from typing import Literal

from longtake.rollouts.plan import CanvasPlan, consecutive
from longtake.rollouts.rollout import Rollout


class SinglePass(Rollout):
    """`rollout=single_pass` and `rollout=full_attention`: every frame is denoised at once.

    `single_pass` calls the network on the whole canvas; with network=vin, chunks run in parallel. `full_attention`
    calls the backbone alone: full attention over every frame, the baseline that VIN saves FLOPs against.
    """

    def __init__(self, *, network_part: Literal["", "backbone"]) -> None:
        """network_part: "" for the network as it is, "backbone" for its DiT alone."""
        self.network_part = network_part

    @property
    def name(self) -> str:
        """Two configs have this class."""
        return "full_attention" if self.network_part else "single_pass"

    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """Denoises everything at once."""
        return (CanvasPlan(consecutive(0, num_latents), joins=None),)
