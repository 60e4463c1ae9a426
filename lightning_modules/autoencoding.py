"""Training of the codec: reconstruct short clips of pixels."""

from typing import Any, cast

import torch
from lightning import LightningModule
from torch import Tensor

from lightning_modules.optimization import OptimizerFactory, SchedulerFactory, configure
from lightning_modules.randomness import row_generators
from networks.codecs.causal import CausalVideoAutoencoder
from networks.interfaces import VideoBatch


class AutoencodingModule(LightningModule):
    """Mean absolute and squared error of the reconstruction, with noise on the latents.

    Source: our choice: noise of a fixed share of each channel's spread keeps neighbouring latents close in pixels,
    which a diffusion model's small errors need, and cannot be undone by growing the latents.
    """

    def __init__(
        self,
        *,
        codec: CausalVideoAutoencoder,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        latent_noise: float,
        squared_error_weight: float,
        statistics_momentum: float,
        seed: int,
    ) -> None:
        """latent_noise: standard deviation, in units of each channel's own; squared_error_weight: beside the MAE."""
        super().__init__()
        self.codec = codec
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.latent_noise = latent_noise
        self.squared_error_weight = squared_error_weight
        self.statistics_momentum = statistics_momentum
        self.seed = seed

    def _reconstruct(self, video: Tensor, noise: float) -> Tensor:
        raw = self.codec.encode_raw(video)
        if self.training:
            self.codec.track_statistics(raw, self.statistics_momentum)
        std = cast(Tensor, self.codec.latents_std).view(-1, 1, 1, 1)
        return self.codec.decode_raw(raw + noise * std * torch.randn_like(raw))

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """batch.video: b 3 f h w, pixels in [-1, 1]."""
        row_generators(self, self.seed, batch_idx, len(batch.video))  # seeds the noise below
        error = self._reconstruct(batch.video, self.latent_noise) - batch.video
        loss = error.abs().mean() + self.squared_error_weight * error.square().mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(batch.video))
        return loss

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Logs PSNR of what `codec.decode(codec.encode(video))` gives, in dB on the scale of 8-bit pictures."""
        error = self._reconstruct(batch.video, 0.0).clamp(-1, 1) - batch.video
        psnr = -10 * torch.log10(error.square().mean(dim=(1, 2, 3, 4)) / 4)
        self.log("val/psnr", psnr.mean(), prog_bar=True, batch_size=len(batch.video), sync_dist=True)
        self.log("val/loss", error.abs().mean(), batch_size=len(batch.video), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """One optimizer, one schedule by step."""
        return configure(self, self.optimizer, self.scheduler)
