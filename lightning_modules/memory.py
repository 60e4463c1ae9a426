"""MemoryModule: a segment is denoised with the compressed memory of others; LoViC's second stage.

Axes: b batch, s slots of a row, c channels, f frames of the canvas, h height, w width (latents).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.denoising import DenoisingModule
from lightning_modules.optimization import OptimizerFactory, SchedulerFactory, built_on, parameter_groups
from lightning_modules.previews import Part, Shown, given, some_times
from lightning_modules.randomness import RowGenerators, draw_events, row_generators
from lightning_modules.reconstruction import (
    RatioSampler,
    count_patches,
    mean_over,
    reconstruct,
    reconstruction_errors,
)
from lightning_modules.tasks import SegmentTask, TaskSampler, fixed_task, task_of
from longtake.objectives.objective import Objective
from longtake.objectives.paths import add_noise
from longtake.samplers.interfaces import Sampler
from networks.batches import mask_on_device, on_device
from networks.interfaces import Condition, Context, SegmentBatch
from networks.lovic import LoViCNetwork
from networks.ranges import NotNegative, Rate, Seed, Share, Texts, Time, Times


class MemoryModule(DenoisingModule):
    """Trains a network with memory on all tasks at once: predict, retrodict, interpolate, or make from nothing.

    Source: LoViC (arXiv 2507.12952) for one network of all tasks. Our choice: joint training with a reconstruction term
    and a slower compressor, shares of tasks, dropped text and memory, and noise of a known level on memory and window.
    """

    network: LoViCNetwork

    def __init__(
        self,
        *,
        network: LoViCNetwork,
        objective: Objective,
        sampler: Sampler,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        tasks: TaskSampler,
        rates: RatioSampler,
        text_dropout: Share,
        memory_dropout: Share,
        max_level: Time,
        reconstruction_weight: NotNegative,
        text_weight: NotNegative,
        compressor_lr_scale: NotNegative,
        plan_weight: NotNegative,
        validation_tasks: Texts,
        validation_rate: Rate,
        validation_times: Times,
        seed: Seed,
        control_dropout: Share = 0.1,
    ) -> None:
        """Takes what is trained, and how.

        Args:
            network: network with a memory that is trained.
            objective: what is predicted, and at which times.
            sampler: sampler of the sample videos, and of generation.
            optimizer: makes the optimizer of parameters.
            scheduler: makes the schedule of an optimizer; it advances every step.
            tasks: draws which segments of a row are known.
            rates: draws the compression ratio of each step.
            text_dropout: share of rows, in [0, 1], with the null text in place of theirs.
            memory_dropout: share of rows, in [0, 1], with the null memory.
            max_level: largest time in [0, 1] of the noise on memory and window frames.
            reconstruction_weight: weight of the compressor's own loss, at least 0.
            text_weight: weight of the text's error in that loss, beside the video's.
            compressor_lr_scale: factor of the learning rate for the compressor.
            plan_weight: weight of the network's own losses, such as VIN's plan, at least 0.
            validation_tasks: tasks whose loss is validated, see `fixed_task`.
            validation_rate: compression ratio of the validation.
            validation_times: diffusion times in [0, 1] at which the loss is validated.
            seed: seed of tasks, times, noise and dropout, which are drawn anew from it at every step.
            control_dropout: share of rows, in [0, 1], without control, where the data has any.
        """
        _refuse_without_memory(network)
        super().__init__(
            network=network,
            objective=objective,
            sampler=sampler,
            optimizer=optimizer,
            scheduler=scheduler,
            text_dropout=text_dropout,
            plan_weight=plan_weight,
            validation_times=validation_times,
            seed=seed,
            control_dropout=control_dropout,
        )
        self.tasks = tasks
        self.rates = rates
        self.memory_dropout = memory_dropout
        self.max_level = max_level
        self.reconstruction_weight = reconstruction_weight
        self.text_weight = text_weight
        self.compressor_lr_scale = compressor_lr_scale
        for name in validation_tasks:
            task_of(name)  # refused now, not at the first validation
        self.validation_tasks = validation_tasks
        self.validation_rate = validation_rate

    def condition(
        self, task: SegmentTask, level: Tensor, rate: float, rows: Sequence[torch.Generator] | None = None
    ) -> Condition:
        """What the network may know; level: b, time of the noise on the memory, drawn by torch or by each row's own."""
        context = task.context
        levels = level[:, None].expand(context.valid.shape)
        drawn = zip(context.video, levels, [None] * len(level) if rows is None else rows, strict=True)
        noisy = torch.stack([add_noise(video, at, row) for video, at, row in drawn])
        device = task.video.device
        return Condition(
            frame_index=task.frame_index,
            text=task.text,
            text_mask=mask_on_device(task.text_mask, device),
            frame_mask=mask_on_device(task.frame_mask, device),
            shot=task.shot,
            context=(Context(context._replace(video=noisy), levels, rate),),
            per_frame=task.per_frame,
        )

    def training_step(self, batch: SegmentBatch, batch_idx: int) -> Tensor:  # type: ignore[override]
        """batch.video: latents b s c f h w of unit variance."""
        rows = row_generators(self, self.seed, batch_idx, len(batch.video))
        self._inputs(batch)
        task = self.tasks(batch, rows.host)
        num_rows, device = len(task.video), self.device
        draws = torch.stack([torch.rand(3, generator=row) for row in rows.host])
        level = on_device(self.max_level * draws[:, 0], device)
        rate = self.rates.draw(self.seed, self.trainer.global_step, 2)
        keeps_text, keeps_memory = draws[:, 1] >= self.text_dropout, draws[:, 2] >= self.memory_dropout
        task = task._replace(
            text_mask=task.text_mask & keeps_text[:, None],
            context=task.context._replace(valid=task.context.valid & keeps_memory[:, None]),
        )
        condition = self._encode_context(self.condition(task, level, rate, rows.device))
        times = [
            self.objective.sample_time(1, task.video.shape[2], device=device, generator=row) for row in rows.device
        ]
        own = on_device(task.own, device)
        time = torch.where(own, torch.cat([x.time for x in times]), level[:, None])
        shape = task.video.shape[1:]
        noise = torch.stack([torch.randn(shape, device=device, generator=row) for row in rows.device])
        noisy = self.objective.corrupt(task.video, time, noise)
        condition = condition._replace(events=draw_events(self._event_probs(), rows, device))
        prediction = self.network.predict(noisy, time, condition)
        scored = own.expand_as(time)
        loss = self.objective.loss(prediction.target, task.video, noise, time, scored).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=num_rows)
        loss = loss + self._own_losses(prediction, task.video)
        return loss + self._reconstruction_loss(task.context, rate, rows)

    def _encode_context(self, condition: Condition) -> Condition:
        """Makes the memory before the network is called, so that what it spends is logged.

        train/memory_tokens: context tokens a row; train/effective_rate: video tokens a context token, as it came out.
        """
        condition = self.network.encode_context(condition)
        assert condition.memory is not None
        context = condition.context[0].segments
        # Of each segment, without the null memory's.
        tokens = (condition.memory.layers[0][0].shape[2] - 1) / context.valid.shape[1]
        if tokens:
            rows = len(context.valid)
            rate = count_patches(context.video[:, 0], self.network.patch) / tokens
            spent = {
                "train/memory_tokens": on_device(tokens * context.valid.sum() / rows, self.device),
                "train/effective_rate": torch.full((), rate, device=self.device),  # of a number Lightning would wait
            }
            self.log_dict(spent, batch_size=rows)
        return condition

    def _reconstruction_loss(self, context: SegmentBatch, rate: float, rows: RowGenerators) -> Tensor | float:
        """Of one slot a row, so that the compressor keeps detail that no single target asks for."""
        compressor = self.network.compressor
        if compressor is None or self.reconstruction_weight == 0:
            return 0.0
        first = context.map(lambda x: x[:, :1])
        segment, valid = first.fold(), first.valid.flatten()
        level = self.max_level * torch.cat([torch.rand(1, device=self.device, generator=row) for row in rows.device])
        videos = zip(segment.video.split(1), level.split(1), rows.device, strict=True)
        noisy = segment._replace(video=torch.cat([add_noise(x, at, row) for x, at, row in videos]))
        errors = reconstruction_errors(reconstruct(compressor, noisy, level, rate), segment)
        loss = mean_over(errors.video + self.text_weight * errors.text, valid)
        self.log("train/reconstruction_loss", loss, batch_size=len(valid))
        return self.reconstruction_weight * loss

    def validation_step(self, batch: SegmentBatch, batch_idx: int) -> None:  # type: ignore[override]
        """Logs the unweighted loss of each task at each time, with everything and without each ablation."""
        for name in self.validation_tasks:
            task = fixed_task(name, batch, self.tasks)
            generator = torch.Generator().manual_seed(batch_idx)
            noise = torch.randn(task.video.shape, generator=generator).to(task.video)
            level = torch.zeros(len(noise), device=self.device)
            condition = self.condition(task, level, self.validation_rate)
            condition = self.network.encode_context(condition)  # once for all times
            for ablation in (None, *self.network.ablations):
                place = "val" if ablation is None else f"val_without_{ablation}"
                known = condition if ablation is None else condition.without(ablation)
                losses = [self._task_loss(task, known, noise, time) for time in self.validation_times]
                named = {f"{place}/{name}_time_{t:g}": x for t, x in zip(self.validation_times, losses, strict=True)}
                named[f"{place}/{name}"] = torch.stack(losses).mean()
                if name == self.validation_tasks[0]:
                    named[f"{place}/loss"] = named[f"{place}/{name}"]
                self.log_dict(named, batch_size=len(noise), sync_dist=True)

    def _task_loss(self, task: SegmentTask, condition: Condition, noise: Tensor, value: float) -> Tensor:
        time = on_device(torch.where(task.own, value, 0.0), noise.device).expand(len(noise), -1).to(noise)
        noisy = self.objective.corrupt(task.video, time, noise)
        prediction = self.network(noisy, time, condition)
        own = on_device(torch.nonzero(task.own).flatten(), noise.device)
        return self.objective.frame_errors(prediction, task.video, noise, time)[:, own].mean()

    def preview(self, batch: SegmentBatch) -> list[Shown]:  # type: ignore[override]
        """The first validation task of the batch's first row: remembered segments, then the canvas.

        Args:
            batch: latents b s c f h w, of validation.

        Returns:
            The truth, then what the network takes the canvas for in one call at some validation times. The frames
            that it was given, in memory or on the canvas, are known.
        """
        task = fixed_task(self.validation_tasks[0], batch.map(lambda x: x[:1]), self.tasks)
        noise = torch.randn(task.video.shape, generator=torch.Generator().manual_seed(self.seed)).to(task.video)
        condition = self.condition(task, torch.zeros(1, device=self.device), self.validation_rate)
        condition = self.network.encode_context(condition)
        valid = task.context.valid[0]
        memory = tuple(given(video) for video, real in zip(task.context.video[0], valid, strict=True) if real)
        there = task.frame_mask[0]
        known = (~task.own)[there].cpu()
        rows = [Shown("truth", (*memory, Part(task.video[0][:, there], known)))]
        for value in some_times(self.validation_times):
            time = torch.where(task.own, value, 0.0)[None].to(noise)
            clean = self._clean(self.objective.corrupt(task.video, time, noise), time, condition)
            clean = torch.where(task.own[:, None, None], clean[0], task.video[0])
            name = f"{self.validation_tasks[0]}, one call at time {value:g}"
            rows.append(Shown(name, (*memory, Part(clean[:, there], known))))
        return rows

    def count_tokens(self, batch: SegmentBatch) -> int:  # type: ignore[override]
        """Patch tokens that are denoised: one segment a row."""
        return batch.video[:, 0, 0].numel() // self.network.patch**2

    def count_flops_step(self, batch: SegmentBatch) -> None:  # type: ignore[override]
        """One forward pass of a training step, for the FLOP counter."""
        task = fixed_task("interpolation", batch, self.tasks)
        level = torch.zeros(len(task.video), device=self.device)
        condition = self.condition(task, level, self.validation_rate)
        time = on_device(torch.where(task.own, 0.5, 0.0), self.device).expand(len(task.video), -1).to(task.video)
        self.network.predict(task.video, time, condition)

    def configure_optimizers(self) -> Any:
        """One optimizer, one schedule by step; the compressor learns at a share of the rate."""
        compressor = self.network.compressor
        own = set() if compressor is None else {id(p) for p in compressor.parameters()}
        groups = []
        for group in parameter_groups(self):
            for slow in (False, True):
                members = [p for p in group["params"] if (id(p) in own) == slow]
                if members:
                    groups.append({**group, "params": members, "slow": slow})
        optimizer = built_on(self.optimizer, groups, self.device)
        for built in optimizer.param_groups:
            built["lr"] *= self.compressor_lr_scale if built["slow"] else 1.0
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"}}


def _refuse_without_memory(network: Any) -> None:
    """Says which networks have a memory, where this one has none.

    Args:
        network: whatever a configuration named.

    Raises:
        ValueError: if it has no place for a memory.
    """
    if not getattr(network, "takes_segments", False):
        raise ValueError(
            f"lightning_module=memory trains a network with memory, but network is a {type(network).__name__}: use "
            "network=lovic or vin_lovic, or lightning_module=denoising with datamodule=freedoom or folder"
        )
