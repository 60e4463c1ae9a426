"""The objective: how a video is corrupted, what the network predicts and how it is scored.

Axes: b batch, c channels, f frames, h height, w width. Time b f, or 1 1, in [0, 1], 0 clean and 1 noise.
"""

from typing import NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor

from longtake.objectives.paths import Coefficients, Path
from longtake.objectives.predictions import Prediction
from longtake.objectives.times import TimestepSampler, clean_prefix
from longtake.objectives.weights import Weight
from networks.interfaces import Estimate
from networks.ranges import Count, Share


class SampledTime(NamedTuple):
    """Times of one training step, and which frames are scored.

    time: b f in [0, 1], 0 on clean context frames; frame_mask: b f, False on those context frames.
    """

    time: Tensor
    frame_mask: Tensor


class Objective:
    """A path, a kind of prediction, a law of times and a weight, under one roof; it holds no weights."""

    def __init__(
        self,
        *,
        path: Path,
        prediction: Prediction,
        times: TimestepSampler,
        weight: Weight,
        context_rate: Share = 0.0,
        max_context_frames: Count = 0,
    ) -> None:
        """Context for the autoregressive baseline is off by default.

        Args:
            path: path from clean to noise.
            prediction: what the network predicts: noise, velocity, clean video or flow.
            times: how times are drawn in training.
            weight: weight of the loss at each time.
            context_rate: share of training videos that begin with clean frames, at time 0 and not scored.
            max_context_frames: most clean frames of a video.

        Raises:
            ValueError: if context_rate lies outside [0, 1], or is positive without any context frames.
        """
        if not 0 <= context_rate <= 1:
            raise ValueError(f"objective.context_rate={context_rate} must lie in [0, 1]; 0 turns context off")
        if context_rate > 0 and max_context_frames < 1:
            raise ValueError(
                f"objective.context_rate={context_rate} needs objective.max_context_frames of at least 1, "
                f"not {max_context_frames}"
            )
        self.path, self.prediction, self.times, self.weight = path, prediction, times, weight
        self.context_rate, self.max_context_frames = context_rate, max_context_frames

    def sample_time(
        self, batch: int, num_frames: int, *, device: torch.device, generator: torch.Generator | None = None
    ) -> SampledTime:
        """Draws the diffusion times of a training batch.

        Args:
            batch: number of videos.
            num_frames: latent frames of each video.
            device: device that the times are made on.
            generator: generator of random numbers, on that device; None: torch's global one.

        Returns:
            Times b f in [0, 1], and which frames count in the loss, b f: clean context frames do not.
        """
        time = self.times.sample(batch, num_frames, device, generator)
        if self.context_rate == 0:
            return SampledTime(time, torch.ones_like(time, dtype=torch.bool))
        context = clean_prefix(
            batch,
            num_frames,
            rate=self.context_rate,
            max_frames=self.max_context_frames,
            device=device,
            generator=generator,
        )
        return SampledTime(time.masked_fill(context, 0.0), ~context)

    def corrupt(self, clean: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """The noisy video at these times: b c f h w."""
        return self.renoise(Estimate(clean, noise), time)

    def renoise(self, estimate: Estimate, time: Tensor) -> Tensor:
        """The noisy video that the pair makes at these times: b c f h w."""
        coefficients = self._over_video(time)
        return coefficients.alpha * estimate.clean + coefficients.sigma * estimate.noise

    def target(self, clean: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """What the network should predict: b c f h w."""
        return self.prediction.target(clean, noise, self._over_video(time))

    def estimate(self, prediction: Tensor, noisy: Tensor, time: Tensor) -> Estimate:
        """The canonical pair behind a prediction, in float32."""
        return self.prediction.estimate(prediction.float(), noisy.float(), self._over_video(time))

    def loss(self, prediction: Tensor, clean: Tensor, noise: Tensor, time: Tensor, frame_mask: Tensor) -> Tensor:
        """The weighted mean squared error of each video: b, float32.

        The mean is over the video's own elements and scored frames, so long videos do not outweigh short ones.
        frame_mask: b f, True where a frame is scored; a video without any scores 0.
        """
        frames = self.frame_errors(prediction, clean, noise, time)
        frames = frames * self.weight(self._coefficients(time), self.prediction)
        scored = frame_mask.float()
        return (frames * scored).sum(dim=1) / scored.sum(dim=1).clamp(min=1)

    def frame_errors(self, prediction: Tensor, clean: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The unweighted mean squared error of each frame: b f, float32."""
        error = (prediction.float() - self.target(clean, time, noise).float()) ** 2
        return reduce(error, "b c f h w -> b f", "mean")

    def _coefficients(self, time: Tensor) -> Coefficients:
        return self.path.coefficients(time.float())

    def _over_video(self, time: Tensor) -> Coefficients:
        return self._coefficients(rearrange(time, "b f -> b 1 f 1 1"))
