"""Answers of VIN: context and target are one canvas, whose clean beginning its global tokens read at every step.

Axes: b is 1, c channels, f latent frames, h height, w width.
"""

from collections.abc import Sequence
from functools import partial

import torch

from longtake.generation import window_generator
from longtake.pipeline import Pipeline
from longtake.rollouts.canvas import denoise, open_canvas
from longtake.rollouts.plan import CanvasPlan, consecutive
from longtake.testbed.answering import WRONG, Answerer, Maker, Memory
from longtake.testbed.folder import Pictures, Testbed
from longtake.testbed.questions import Question
from networks.interfaces import VideoNetwork

TOKENS = "global_tokens"


class FromCanvas(Answerer):
    """Weights that make the whole target at once, beside its context."""

    def __init__(self, pipeline: Pipeline, testbed: Testbed) -> None:
        """Check that they fit.

        Args:
            pipeline: pipeline of a VIN that takes poses.
            testbed: test set whose questions are answered.

        Raises:
            ValueError: the network has no global tokens, takes no pose, or is of another size than the videos.
        """
        super().__init__(pipeline, testbed)
        if TOKENS not in self.network.ablations:
            raise ValueError(
                "questions ask for what was seen long before, and these weights have neither a memory nor global "
                "tokens: train network=lovic, vin or vin_lovic"
            )

    def ways(
        self, ratios: Sequence[float], ladders: Sequence[float] = (), pyramids: Sequence[float] = ()
    ) -> dict[str, Maker]:
        """As Answerer's: without global tokens, the DiT alone over the whole canvas, with tokens, and controls."""
        network = self.network
        found: dict[str, Maker] = {
            "window": partial(self.answer, network=network, memory="own", without=(TOKENS,)),
            "full_context": partial(self.answer, network=network.over_windows, memory="own"),
            TOKENS: partial(self.answer, network=network, memory="own"),
        }
        wrong = {f"{TOKENS}.{memory}": partial(self.answer, network=network, memory=memory) for memory in WRONG}
        return {**found, **wrong}

    @torch.inference_mode()
    def answer(
        self, question: Question, *, network: VideoNetwork, memory: Memory, without: Sequence[str] = ()
    ) -> Pictures:
        """The frames of a question's target.

        Args:
            question: one of the test set's.
            network: the VIN, or its DiT alone.
            memory: whose history stands before the context's last frames, which a window reads beside the target.
            without: what the network goes without, see Condition.without.

        Returns:
            Frames f h w 3.
        """
        own = self.walk(question.context)
        control = self.control(torch.cat([own.poses, self.poses(question.target)]))
        count, before = own.latents.shape[2], own.latents
        if memory != "own":
            recent = max(count - self.pipeline.module.network.local_frames, 0)
            before, control = before[:, :, recent:], control[:, recent:]
            past = self.history(question, memory, own)
            if past is not None:
                older = slice(0, min(recent, past.latents.shape[2]))
                before = torch.cat([past.latents[:, :, older], before], dim=2)
                control = torch.cat([self.control(past.poses)[:, older], control], dim=1)
        made = self.made(before, control, network=network, seed=question.seed, without=without)
        return self.shown(torch.cat([own.latents, made], dim=2), len(question.target))

    def made(
        self, before: torch.Tensor, control: torch.Tensor, *, network: VideoNetwork, seed: int, without: Sequence[str]
    ) -> torch.Tensor:
        """What follows clean frames.

        Args:
            before: the clean frames, 1 c f h w.
            control: poses of these and of what follows, 1 f d.
            network: what denoises the canvas of both.
            seed: seed of the noise.
            without: what the network goes without.

        Returns:
            The frames that follow, 1 c f h w.
        """
        pipeline, known, total = self.pipeline, before.shape[2], control.shape[1]
        plan = CanvasPlan(consecutive(0, total), known=consecutive(0, known))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn((1, before.shape[1], total - known, *before.shape[3:]), generator=generator).to(before)
        condition = self.condition(control)
        sample = window_generator(pipeline.module, network, pipeline.guidance, None, None, without)
        return denoise(sample, open_canvas(plan, noise=noise, condition=condition, known=before), plan).to(before)
