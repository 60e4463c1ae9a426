"""What a rollout is given, and what it calls."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from networks.interfaces import Condition

Predict = Callable[[Tensor, Tensor, Condition], Tensor]
"""A network as a sampler calls it: noisy video, time and condition to the prediction."""

Wrap = Callable[[Predict], Predict]
"""A network for the canvas made of one for windows: where predictions are merged at every step, and not in the end."""


def unwrapped(network: Predict) -> Predict:
    """The network as it is."""
    return network


class Canvas(NamedTuple):
    """The whole video to be made: noise b c f h w and the condition of all its frames."""

    noise: Tensor
    condition: Condition


class Given(NamedTuple):
    """Clean frames that stand in a window as they are: which, b f, and a canvas with them in place, b c f h w."""

    mask: Tensor
    video: Tensor


class Generate(Protocol):
    """Denoises one window with the module's network, sampler and guidance."""

    def __call__(self, noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
        """noise: b c f h w; given: clean frames in the window, or None; wrap: what the sampler sees of the network.

        Returns the window, b c f h w.
        """
        ...
