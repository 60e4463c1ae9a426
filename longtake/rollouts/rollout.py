"""What every rollout is: a plan of canvases, carried out one after another."""

import re
from abc import ABC, abstractmethod

from torch import Tensor

from longtake.rollouts.canvas import carry_out
from longtake.rollouts.interfaces import Canvas, Generate, Predict
from longtake.rollouts.memory import MemoryPolicy
from longtake.rollouts.plan import CanvasPlan
from networks.interfaces import VideoNetwork
from networks.parts import Parts
from networks.processes import Processes


class Rollout(ABC):
    """`rollout=…`: how one trained network makes a long video.

    A class of one's own needs `plan` alone; manifests, the cost model, the checks before sampling, the dry run and
    sampling itself read it.

    Example:
        class Halves(Rollout):
            def plan(self, num_latents):
                middle = num_latents // 2
                first = CanvasPlan(tuple(range(middle)))
                return first, CanvasPlan(tuple(range(middle - 1, num_latents)), known=(0,))
    """

    network_part: str = "backbone"
    """What it calls: "" the whole network, "backbone" the one over windows of its own (VideoNetwork.over_windows)."""
    replaces_attention: bool = False
    """Whether self-attention is the rollout's own, which has no place for a memory."""
    memory: MemoryPolicy | None = None
    """What is remembered of finished segments, for which the network needs a compressor; None: nothing."""
    segment_frames: int | None = None
    """Latent frames of the longest segment that is remembered."""
    overlap_frames: int = 0
    """Clean latent frames at each side of a segment that its canvas has room for."""

    @property
    def name(self) -> str:
        """What `rollout=` calls it: the class's name in small letters."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()

    @abstractmethod
    def plan(self, num_latents: int) -> tuple[CanvasPlan, ...]:
        """The canvases of a video of so many latent frames, in the order in which they are denoised."""

    def num_windows(self, network: VideoNetwork, num_frames: int) -> int:
        """In how many windows, denoised side by side, a canvas of so many latent frames lies.

        network: what the rollout calls.
        """
        return network.num_windows(num_frames)

    def spread(self, network: VideoNetwork, processes: Processes) -> None:
        """Shares those windows out over processes; network: what the rollout calls."""
        network.spread(processes)

    def frame_parts(self, network: VideoNetwork, num_frames: int) -> Parts | None:
        """Which frames of a canvas of so many each process needs for its windows; None: each needs all.

        network: what the rollout calls.
        """
        return network.frame_parts(num_frames)

    def prepare(self, noise: Tensor) -> Tensor:
        """The noise b c f h w that sampling begins from, made of independent noise."""
        return noise

    def wrap(self, network: Predict) -> Predict:
        """What the sampler sees of the network on one canvas."""
        return network

    def __call__(self, generate: Generate, canvas: Canvas) -> Tensor:
        """Carries out the plan: clean latents b c f h w."""
        noise_level = 0.0 if self.memory is None else self.memory.noise_level
        prepared = canvas._replace(noise=self.prepare(canvas.noise))
        return carry_out(self.plan(canvas.noise.shape[2]), generate, prepared, self.wrap, noise_level)
