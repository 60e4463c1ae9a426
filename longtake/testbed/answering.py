"""Answer a test set with weights: what the ways to answer share, which are in from_memory.py and from_canvas.py.

Axes: b is 1, c channels, f latent frames, h height, w width; F pixel frames, n numbers of a pixel frame.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longtake.control import read_numbers
from longtake.generation import part_of, told
from longtake.pipeline import Pipeline
from longtake.samplers.guidance import NestedGuidance
from longtake.testbed.folder import Pictures, Testbed
from longtake.testbed.questions import Question, Span
from networks.control import NAME as CONTROL
from networks.control import to_latent_frames
from networks.interfaces import Condition

Maker = Callable[[Question], np.ndarray]
"""Frames f h w 3 that answer a question."""

Memory = Literal["none", "own", "other_maze", "shuffled", "unvisited"]
WRONG: tuple[Memory, ...] = ("other_maze", "shuffled", "unvisited")
"""Histories that say nothing of what is asked for: the controls."""


def among(makers: Mapping[str, Maker], names: Sequence[str] | None) -> dict[str, Maker]:
    """Those ways to answer that are asked for.

    Args:
        makers: all ways by their names.
        names: of those that are asked for, None for all.

    Returns:
        The ways that are asked for, by their names.

    Raises:
        ValueError: there is none of a name.
    """
    unknown = [name for name in names or () if name not in makers]
    if unknown:
        raise ValueError(f"methods: there is no {', '.join(unknown)} among {', '.join(makers)}")
    return {name: maker for name, maker in makers.items() if names is None or name in names}


def weighed(pipeline: Pipeline, scales: Mapping[str, float]) -> Pipeline:
    """A pipeline whose conditions weigh otherwise in guidance.

    Args:
        pipeline: stays as it is.
        scales: of "memory", "text" or what else its network knows; those that are not named keep theirs.

    Returns:
        Another pipeline of the same weights.

    Raises:
        ValueError: its network knows no such condition.
    """
    known = ("text", *pipeline.module.network.ablations)
    if unknown := [name for name in scales if name not in known]:
        raise ValueError(f"guidance_scales: these weights have no {', '.join(unknown)}; they have {', '.join(known)}")
    own: Any = pipeline.guidance
    return pipeline.replace(guidance=NestedGuidance(scales={**own.scales, **scales}, intervals=own.intervals))


class Walk(NamedTuple):
    """What is known of a walk: latents 1 c f h w, and the pose of every pixel frame, F n, as the weights take them."""

    latents: Tensor
    poses: Tensor


class Answerer(ABC):
    """Weights that answer the questions of one test set."""

    def __init__(self, pipeline: Pipeline, testbed: Testbed) -> None:
        """Check that they fit.

        Args:
            pipeline: pipeline of weights whose network takes poses.
            testbed: test set whose questions are answered.

        Raises:
            ValueError: the weights take no pose, or are of another size than the videos.
        """
        self.pipeline, self.testbed = pipeline, testbed
        self.network = part_of(pipeline.module.network, pipeline.rollout)
        control = self.network.backbone.control if CONTROL in self.network.ablations else None
        if control is None:
            raise ValueError("questions are poses, and these weights take none: train with control=pose")
        self.walk = lru_cache(maxsize=4)(self._walk)
        """Frames and poses of a span, of which the first are left out that make no whole latent frame."""
        self.columns, self.frames_per_latent = control.columns, control.frames_per_latent
        size = testbed.info["settings"]["size"]
        if (pipeline.height, pipeline.width) != (size, size):
            raise ValueError(
                f"these weights make {pipeline.height}x{pipeline.width} pixels, the test set has {size}x{size}: make "
                f"one with size={pipeline.height}"
            )

    @abstractmethod
    def ways(
        self, ratios: Sequence[float], ladders: Sequence[float] = (), pyramids: Sequence[float] = ()
    ) -> dict[str, Maker]:
        """The ways in which these weights answer, by the name of each in the table.

        Args:
            ratios: compression ratios of memories that are compressed alike everywhere.
            ladders: compression ratios, over all, of memories that are compressed more the further back they lie.
            pyramids: compression ratios, over all, of memories in levels that span more the coarser they are.

        Returns:
            What makes the frames of an answer, by name.
        """

    @torch.inference_mode()
    def reconstruct(self, question: Question) -> Pictures:
        """The real frames through the codec: no weights that use it come nearer."""
        both = np.concatenate([self.testbed.frames(question.context), self.testbed.frames(question.target)])
        return self.shown(self.encoded(both), len(question.target))

    def history(self, question: Question, memory: Memory, own: Walk) -> Walk | None:
        """What is remembered; None where a question has nothing of the kind."""
        if memory == "other_maze":
            others = [each for each in self.testbed.questions if each.id == question.other]
            return self.walk(others[0].context) if others else None
        if memory == "unvisited":
            return None if question.unvisited is None else self.walk(question.unvisited)
        if memory == "shuffled":  # every frame with the pose of another
            order = torch.randperm(own.latents.shape[2], generator=torch.Generator().manual_seed(question.seed))
            return own._replace(latents=own.latents[:, :, order.to(own.latents.device)])
        return own

    def _walk(self, span: Span) -> Walk:
        time = self.pipeline.codec.time_factor
        whole = span.model_copy(update={"start": span.start + (len(span) - 1) % time})
        return Walk(self.encoded(self.testbed.frames(whole)), self.poses(whole))

    def poses(self, span: Span) -> Tensor:
        """What the weights take of a span's poses, F n."""
        path = self.testbed.root / "poses" / f"{span.video}.csv"
        return read_numbers(path, self.columns, where=str(path))[span.start : span.end]

    def encoded(self, frames: Pictures) -> Tensor:
        """Latents of pixel frames F h w 3."""
        pixels = torch.from_numpy(frames.copy()).permute(3, 0, 1, 2).float() / 127.5 - 1
        device = self.pipeline.device
        made: Tensor = self.pipeline.codec.to(device).encode(pixels[None].to(device))
        return made

    def control(self, poses: Tensor) -> Tensor:
        """Poses F n as a condition holds them: 1 f (p n)."""
        return to_latent_frames(poses, self.frames_per_latent)[None].to(self.pipeline.device)

    def text(self) -> tuple[Tensor, Tensor]:
        """The null text, which no question names more than, and its mask, which is False everywhere."""
        text, known = self.pipeline.text_encoder.encode([""])
        return text.to(self.pipeline.device), known.to(self.pipeline.device)

    def condition(self, control: Tensor) -> Condition:
        """Of a canvas without a text; control: of its frames, 1 f (p n)."""
        index = torch.arange(control.shape[1], device=self.pipeline.device, dtype=torch.float32)[None]
        return told(Condition(index, *self.text(), per_frame={CONTROL: control}), [""])

    def shown(self, latents: Tensor, count: int) -> Pictures:
        """The last `count` pixel frames of latents, f h w 3."""
        pixels = torch.cat(list(self.pipeline.frames(latents)), dim=2)[0, :, -count:]
        return ((pixels.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
