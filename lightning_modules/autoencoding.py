"""Training of the codec: reconstruct short clips of pixels."""

import itertools
from typing import Any, cast

import torch
from einops import rearrange
from lightning import LightningModule
from torch import Tensor
from torch.nn import functional as F

from lightning_modules.optimization import OptimizerFactory, SchedulerFactory, configure
from lightning_modules.previews import Shown, made
from lightning_modules.randomness import row_generators
from longtake.metrics.sharpness import Sharpness
from networks.codecs.causal import CausalVideoAutoencoder, LinearPath
from networks.codecs.growing import begin_from
from networks.interfaces import VideoBatch
from networks.ranges import NotNegative, Seed, Share, Text

FITTED_BATCHES = 16
"""From which the linear path of a codec is made: some thousand patches of some dozen clips."""


class AutoencodingModule(LightningModule):
    """Mean absolute and squared error of the reconstruction and of its detail, with noise on the latents.

    Source: our choice: noise of a fixed share of each channel's spread keeps neighbouring latents close in pixels,
    which a diffusion model's small errors need, and cannot be undone by growing the latents. Latents of half the
    size that decode to the video of half the size (as in EQ-VAE, arXiv 2502.09509) keep coarse content in coarse
    latents, which a diffusion model learns sooner. Both errors alone blur what is costly to place exactly; the error of
    the detail, what a pixel differs from its four neighbours by, weighs edges more. That error too is least where
    uncertain detail is drawn too weakly; the error of the detail's strength in each place asks for as much as there is.
    """

    def __init__(
        self,
        *,
        codec: CausalVideoAutoencoder,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        latent_noise: NotNegative,
        squared_error_weight: NotNegative,
        detail_weight: NotNegative,
        strength_weight: NotNegative,
        statistics_momentum: Share,
        halved_share: Share,
        train_encoder: bool,
        begin_from: Text | None,
        seed: Seed,
    ) -> None:
        """Takes what is trained, and how.

        Args:
            codec: codec that is trained.
            optimizer: makes the optimizer of parameters.
            scheduler: makes the schedule of an optimizer; it advances every step.
            latent_noise: standard deviation of the noise on the latents, in units of each channel's own, at least 0.
            squared_error_weight: weight of the squared error beside the mean absolute error.
            detail_weight: weight of the mean absolute error of the detail beside that of the pixels.
            strength_weight: weight of the mean absolute error of the detail's strength, its root mean square over
                squares of 8 pixels, beside that of the pixels.
            statistics_momentum: share of the newest batch in the stored mean and spread of the latents, in [0, 1].
            halved_share: share of a batch's clips, in [0, 1], that are reconstructed at half the size too.
            train_encoder: False trains the decoder alone, so that latents, and all that was trained on them, stay.
            begin_from: folder of a trained codec of the same widths, with as many channels or fewer; None: the codec's
                own weights.
            seed: seed of the noise.
        """
        super().__init__()
        self.codec = codec
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.latent_noise = latent_noise
        self.squared_error_weight = squared_error_weight
        self.detail_weight = detail_weight
        self.strength_weight = strength_weight
        self.statistics_momentum = statistics_momentum
        self.halved_share = halved_share
        self.train_encoder = train_encoder
        self.begin_from = begin_from
        codec.train().requires_grad_(True)  # codec=freedoom comes frozen
        for part in codec.encoding_parts():
            part.requires_grad_(train_encoder)
        self.seed = seed

    def on_train_start(self) -> None:
        """Lightning's hook: a resumed run has its own weights."""
        if self.trainer.global_step > 0:
            return
        if self.begin_from is not None:
            begin_from(self.codec, self.begin_from)
        elif self.codec.linear is not None:
            self._fit_linear(self.codec.linear)

    def _fit_linear(self, linear: LinearPath) -> None:
        """On the first batches of the first process; the others take its weights."""
        loader = self.trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]
        videos = [batch.video for batch in itertools.islice(loader, FITTED_BATCHES)]
        linear.fit(self.codec.fold(torch.cat(videos).to(self.device)))
        linear.load_state_dict(self.trainer.strategy.broadcast(linear.state_dict()))

    def _decode(self, raw: Tensor, noise: float) -> Tensor:
        std = cast(Tensor, self.codec.latents_std).view(-1, 1, 1, 1)
        return self.codec.decode_raw(raw + noise * std * torch.randn_like(raw)).float()

    def _error(self, reconstruction: Tensor, video: Tensor) -> Tensor:
        error = reconstruction - video
        loss = error.abs().mean() + self.squared_error_weight * error.square().mean()
        if self.detail_weight:
            loss = loss + self.detail_weight * detail(error).abs().mean()
        if self.strength_weight:
            loss = loss + self.strength_weight * (strength(reconstruction) - strength(video)).abs().mean()
        return loss

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """batch.video: b 3 f h w, pixels in [-1, 1]."""
        video = batch.video
        row_generators(self, self.seed, batch_idx, len(video))  # seeds the noise
        raw = self.codec.encode_raw(video)
        if self.train_encoder:
            self.codec.track_statistics(raw, self.statistics_momentum)
        loss = self._error(self._decode(raw, self.latent_noise), video)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(video))
        num_halved = round(self.halved_share * len(video))
        if num_halved == 0:
            return loss
        halved = self._error(self._decode(halve(raw[:num_halved]), self.latent_noise), halve(video[:num_halved]))
        self.log("train/halved_loss", halved, batch_size=num_halved)
        return loss + self.halved_share * halved

    def validation_step(self, batch: VideoBatch, batch_idx: int) -> None:
        """Logs PSNR of what `codec.decode(codec.encode(video))` gives, in dB on the scale of 8-bit pictures.

        And what it keeps of the sharpness: a share, 1 where nothing is lost.
        """
        back = self._decode(self.codec.encode_raw(batch.video), 0.0).clamp(-1, 1)
        error = back - batch.video
        psnr = -10 * torch.log10(error.square().mean(dim=(1, 2, 3, 4)) / 4)
        self.log("val/psnr", psnr.mean(), prog_bar=True, batch_size=len(batch.video), sync_dist=True)
        kept = [_sharpness(made) / max(_sharpness(real), 1e-6) for made, real in zip(back, batch.video, strict=True)]
        self.log("val/sharpness_kept", sum(kept) / len(kept), batch_size=len(kept), sync_dist=True)
        self.log("val/loss", error.abs().mean(), batch_size=len(batch.video), sync_dist=True)

    def preview(self, batch: VideoBatch) -> list[Shown]:
        """The batch's first clip, and what the codec makes of it.

        Args:
            batch: pixels b 3 f h w in [-1, 1], of validation.

        Returns:
            The truth and the reconstruction.
        """
        back = self._decode(self.codec.encode_raw(batch.video[:1]), 0.0)
        return [Shown("truth", (made(batch.video[0]),)), Shown("reconstruction", (made(back[0]),))]

    def configure_optimizers(self) -> Any:
        """One optimizer, one schedule by step."""
        return configure(self, self.optimizer, self.scheduler)


def detail(video: Tensor) -> Tensor:
    """The Laplacian of every frame: four neighbours less four times the pixel; b c f h w to b c f h-2 w-2."""
    across = video[..., 1:-1, 2:] + video[..., 1:-1, :-2]
    return across + video[..., 2:, 1:-1] + video[..., :-2, 1:-1] - 4 * video[..., 1:-1, 1:-1]


def strength(video: Tensor) -> Tensor:
    """Root mean square of the detail over squares of 8 pixels that overlap by half.

    Args:
        video: b c f h w in [-1, 1].

    Returns:
        (b f) c h' w'; one grey level is added under the root, so that flat places have a finite gradient.
    """
    squares = rearrange(detail(video).square(), "b c f h w -> (b f) c h w")
    side = min(8, *squares.shape[2:])
    return (F.avg_pool2d(squares, side, stride=max(side // 2, 1)) + (2 / 255) ** 2).sqrt()


def _sharpness(video: Tensor) -> float:
    """Of one video, 3 f h w."""
    return Sharpness().measure(video).score or 0.0


def halve(video: Tensor) -> Tensor:
    """Averages 2 x 2 pixels (or latents) of every frame: b c f h w to b c f h/2 w/2."""
    frames = F.avg_pool2d(rearrange(video, "b c f h w -> (b f) c h w"), 2)
    return rearrange(frames, "(b f) c h w -> b c f h w", b=len(video))
