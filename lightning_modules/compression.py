"""Training of a compressor alone: LoViC's first stage, an autoencoder of latents and text features."""

from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from lightning_modules.optimization import OptimizerFactory, SchedulerFactory, configure
from lightning_modules.previews import Shown, made
from lightning_modules.randomness import row_generators
from lightning_modules.reconstruction import (
    RatioSampler,
    compress,
    mean_over,
    reconstruct,
    reconstruction_errors,
)
from longtake.objectives.paths import add_noise
from networks.flexformer import ContextCompressor
from networks.interfaces import SegmentBatch
from networks.ranges import NotNegative, Rates, Seed, Time


class CompressionModule(LightningModule):
    """Reconstructs segments and their text from context tokens, at a rate drawn anew for every step.

    Source: LoViC (arXiv 2507.12952) for an autoencoder of video and text. Our choice: error over variance, text at a
    quarter, log-uniform rates, and noise of a known level on what is encoded, which later keeps generated memory from
    drifting.
    """

    def __init__(
        self,
        *,
        network: ContextCompressor,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        rates: RatioSampler,
        validation_rates: Rates,
        text_weight: NotNegative,
        max_level: Time,
        seed: Seed,
    ) -> None:
        """Takes what is trained, and how.

        Args:
            network: compressor that is trained.
            optimizer: makes the optimizer of parameters.
            scheduler: makes the schedule of an optimizer; it advances every step.
            rates: draws the compression ratio of each step.
            validation_rates: compression ratios at which the errors are validated.
            text_weight: weight of the text's error beside the video's, at least 0.
            max_level: largest time in [0, 1] of the noise on what is encoded.
            seed: seed of ratios and noise, which are drawn anew from it at every step.
        """
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.rates = rates
        self.validation_rates = validation_rates
        self.text_weight = text_weight
        self.max_level = max_level
        self.seed = seed

    def training_step(self, batch: SegmentBatch, batch_idx: int) -> Tensor:
        """batch.video: latents b s c f h w."""
        row_generators(self, self.seed, batch_idx, len(batch.video))  # seeds the draws below
        segment, valid = batch.fold(), batch.valid.flatten()
        level = self.max_level * torch.rand(len(valid), device=self.device)
        rate = self.rates.draw(self.seed, self.trainer.global_step, batch_idx, 2)
        noisy = segment._replace(video=add_noise(segment.video, level))
        made = compress(self.network, noisy, level, rate)
        errors = reconstruction_errors(made.back, segment)
        loss = mean_over(errors.video + self.text_weight * errors.text, valid)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(valid))
        spent = {"train/effective_rate": made.effective_rate, "train/context_tokens": float(made.tokens)}
        # As tensors: of a number Lightning would wait for the device.
        on = {name: torch.full((), value, device=self.device) for name, value in spent.items()}
        self.log_dict(on, batch_size=len(valid))
        return loss

    def validation_step(self, batch: SegmentBatch, batch_idx: int) -> None:
        """Logs errors without noise at each validation rate, trained and never trained ones."""
        segment, valid = batch.fold(), batch.valid.flatten()
        level = torch.zeros(len(valid), device=self.device)
        losses = []
        for rate in self.validation_rates:
            errors = reconstruction_errors(reconstruct(self.network, segment, level, rate), segment)
            losses.append(mean_over(errors.video + self.text_weight * errors.text, valid))
            values = {
                f"val/nmse_rate_{rate:g}": mean_over(errors.video, valid),
                f"val/text_cosine_rate_{rate:g}": mean_over(errors.text_cosine, valid),
            }
            self.log_dict(values, batch_size=len(valid), sync_dist=True)
        self.log("val/loss", torch.stack(losses).mean(), prog_bar=True, batch_size=len(valid), sync_dist=True)

    def preview(self, batch: SegmentBatch) -> list[Shown]:
        """The batch's first segment, and what comes back of it at each validation rate.

        Args:
            batch: latents b s c f h w, of validation.

        Returns:
            The truth, then a reconstruction a row.
        """
        segment = batch.map(lambda x: x[:1, :1]).fold()
        level = torch.zeros(1, device=self.device)
        rows = [Shown("truth", (made(segment.video[0]),))]
        for rate in self.validation_rates:
            back = reconstruct(self.network, segment, level, rate).video
            rows.append(Shown(f"ratio {rate:g}", (made(back[0]),)))
        return rows

    def count_tokens(self, batch: SegmentBatch) -> int:
        """Patch tokens of a batch of latents."""
        return batch.video[:, :, 0].numel() // self.network.patch**2

    def count_flops_step(self, batch: SegmentBatch) -> None:
        """One forward pass of a training step, for the FLOP counter."""
        segment = batch.fold()
        reconstruct(self.network, segment, torch.zeros(len(segment.video), device=self.device), self.rates.lowest)

    def configure_optimizers(self) -> Any:
        """One optimizer, one schedule by step."""
        return configure(self, self.optimizer, self.scheduler)
