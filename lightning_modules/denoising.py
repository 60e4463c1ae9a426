"""DenoisingModule: one diffusion objective around one network. No maths, no reshaping.

Axes: b batch, c channels, f frames, h height, w width (latents); l text tokens, e text features.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from lightning_modules.optimization import OptimizerFactory, SchedulerFactory, configure
from lightning_modules.previews import Shown, made, some_times
from lightning_modules.randomness import draw_events, row_generators
from longtake.objectives.objective import Objective, SampledTime
from longtake.samplers.interfaces import Sampler
from networks.batches import on_device
from networks.control import NAME as CONTROL
from networks.interfaces import Condition, Estimate, Prediction, SegmentBatch, VideoBatch, VideoNetwork
from networks.ranges import NotNegative, Seed, Share, Times


class DenoisingModule(LightningModule):
    """Trains a VideoNetwork to denoise, and validates it with fixed noise at fixed times.

    Validation also runs the same weights without each of the network's `ablations`, so that parts that are there but
    not used are seen.
    """

    def __init__(
        self,
        *,
        network: VideoNetwork,
        objective: Objective,
        sampler: Sampler,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        text_dropout: Share,
        plan_weight: NotNegative,
        validation_times: Times,
        seed: Seed,
        control_dropout: Share = 0.1,
    ) -> None:
        """Takes what is trained, and how.

        Args:
            network: network that is trained.
            objective: what is predicted, and at which times.
            sampler: sampler of the sample videos, and of generation.
            optimizer: makes the optimizer of parameters.
            scheduler: makes the schedule of an optimizer; it advances every step.
            text_dropout: share of training videos, in [0, 1], with the null text in place of theirs.
            plan_weight: weight of the network's own losses, such as VIN's plan, at least 0.
            validation_times: diffusion times in [0, 1] at which the loss is validated.
            seed: seed of times, noise and dropout, which are drawn anew from it at every step.
            control_dropout: share of training videos, in [0, 1], without control, where the data has any.
        """
        super().__init__()
        self.network = network
        self.objective = objective
        self.sampler = sampler
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.text_dropout = text_dropout
        self.control_dropout = control_dropout
        self.plan_weight = plan_weight
        self.validation_times = validation_times
        self.seed = seed

    def _draw(self, batch: VideoBatch, batch_idx: int) -> tuple[SampledTime, Tensor, Condition]:
        """Times, noise (b c f h w) and condition of a training step, row by row."""
        rows = row_generators(self, self.seed, batch_idx, len(batch.video))
        shape, device = batch.video.shape[1:], self.device
        times = [self.objective.sample_time(1, shape[1], device=device, generator=row) for row in rows.device]
        noise = [torch.randn(shape, device=device, generator=row) for row in rows.device]
        kept = torch.stack([torch.rand(1, generator=row) >= self.text_dropout for row in rows.host])
        if not bool(kept.all()):
            keeps = on_device(kept, device)
            text_mask = keeps if batch.text_mask is None else batch.text_mask & keeps
            batch = batch._replace(text_mask=text_mask.expand(batch.text.shape[:2]))
        condition = self._condition(batch)
        condition = condition._replace(events=draw_events(self._event_probs(), rows, device))
        return SampledTime(*(torch.cat(x) for x in zip(*times, strict=True))), torch.stack(noise), condition

    def _event_probs(self) -> dict[str, float]:
        """What befalls videos of training at random: what the network says, and control that is dropped."""
        own = {"control_dropped": self.control_dropout} if CONTROL in self.network.ablations else {}
        return {**self.network.event_probs, **own}

    def _condition(self, batch: VideoBatch) -> Condition:
        return Condition(batch.frame_index, batch.text, batch.text_mask, per_frame=self._inputs(batch))

    def _inputs(self, batch: VideoBatch | SegmentBatch) -> Mapping[str, Tensor]:
        """What a batch holds of every frame.

        Raises:
            ValueError: if the network takes control and the batch holds none.
        """
        if CONTROL in self.network.ablations and CONTROL not in batch.per_frame:
            raise ValueError(
                "this network takes control, which the data does not have: give a table with a column control, or use "
                "control=null"
            )
        return batch.per_frame

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """batch.video: latents b c f h w of unit variance."""
        clean = batch.video
        (time, scored), noise, condition = self._draw(batch, batch_idx)
        noisy = self.objective.corrupt(clean, time, noise)
        prediction = self.network.predict(noisy, time, condition)
        loss = self.objective.loss(prediction.target, clean, noise, time, scored).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(clean))
        return loss + self._own_losses(prediction, clean)

    def _own_losses(self, prediction: Prediction, clean: Tensor) -> Tensor | float:
        """What the network learns from beside the objective, weighted."""
        total: Tensor | float = 0.0
        for name, loss_of in prediction.losses.items():
            loss = loss_of(clean)
            self.log(f"train/{name}_loss", loss, batch_size=len(clean))
            total = total + self.plan_weight * loss
        return total

    def count_tokens(self, batch: VideoBatch) -> int:
        """Patch tokens of a batch of latents, before windows overlap."""
        return batch.video[:, 0].numel() // self.network.patch**2

    def count_flops_step(self, batch: VideoBatch) -> None:
        """One forward pass of a training step, for the FLOP counter."""
        time = torch.full((batch.video.shape[0], batch.video.shape[2]), 0.5, device=self.device)
        self.network.predict(batch.video, time, self._condition(batch))

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Logs the unweighted loss at each validation time, with everything and without each ablation."""
        clean = batch.video
        generator = torch.Generator().manual_seed(batch_idx)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        for ablation in (None, *self.network.ablations):
            condition = self._condition(batch) if ablation is None else self._condition(batch).without(ablation)
            losses = [self._validation_loss(batch, noise, time, condition) for time in self.validation_times]
            place = "val" if ablation is None else f"val_without_{ablation}"
            named = {f"{place}/loss_time_{t:g}": x for t, x in zip(self.validation_times, losses, strict=True)}
            named[f"{place}/loss"] = torch.stack(losses).mean()
            self.log_dict(named, batch_size=len(clean), sync_dist=True)

    def _validation_loss(self, batch: VideoBatch, noise: Tensor, level: float, condition: Condition) -> Tensor:
        time = torch.full(batch.frame_index.shape, level, device=noise.device)
        noisy = self.objective.corrupt(batch.video, time, noise)
        prediction = self.network(noisy, time, condition)
        return self.objective.frame_errors(prediction, batch.video, noise, time).mean()

    def preview(self, batch: VideoBatch) -> list[Shown]:
        """The batch's first video, and what the network takes it for in one call at some validation times.

        Args:
            batch: latents b c f h w, of validation.

        Returns:
            The truth, then an estimate a row.
        """
        one = batch.map(lambda x: x[:1])
        noise = torch.randn(one.video.shape, generator=torch.Generator().manual_seed(self.seed)).to(one.video)
        rows = [Shown("truth", (made(one.video[0]),))]
        for value in some_times(self.validation_times):
            time = torch.full(one.frame_index.shape, value, device=noise.device)
            clean = self._clean(self.objective.corrupt(one.video, time, noise), time, self._condition(one))
            rows.append(Shown(f"one call at time {value:g}", (made(clean[0]),)))
        return rows

    def _clean(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        estimate: Estimate = self.objective.estimate(self.network(noisy, time, condition), noisy, time)
        return estimate.clean

    def configure_optimizers(self) -> Any:
        """One optimizer, one schedule by step."""
        return configure(self, self.optimizer, self.scheduler)
