"""Sharpening of a trained codec: its decoder goes on, against a network that tells made video from real."""

import torch
from torch import Tensor

from lightning_modules.autoencoding import AutoencodingModule
from lightning_modules.optimization import OptimizerFactory, SchedulerFactory
from lightning_modules.randomness import row_generators
from networks.codecs.causal import CausalVideoAutoencoder
from networks.codecs.discriminator import PatchDiscriminator, hinge
from networks.interfaces import VideoBatch


class SharpeningModule(AutoencodingModule):
    """Trains the decoder alone, so that latents, and all that was trained on them, stay as they are.

    The pixels that err least are the mean of all that would fit, a blur; an adversary sees it. Both learn in one pass
    with one optimizer: the decoder from a mix of two gradients in the pixels, the adversary from its hinge loss.
    Source: our choice: VQGAN's adaptive weight (arXiv 2012.09841, equation 7), taken at the pixels rather than at the
    last layer, where it costs nothing more.
    """

    def __init__(
        self,
        *,
        codec: CausalVideoAutoencoder,
        adversary: PatchDiscriminator,
        optimizer: OptimizerFactory,
        scheduler: SchedulerFactory,
        adversarial_share: float,
        latent_noise: float,
        squared_error_weight: float,
        seed: int,
    ) -> None:
        """adversarial_share: norm of the adversary's gradient in the pixels, over that of the error's.

        The rest as in AutoencodingModule.

        Raises:
            ValueError: for a share of 1 or more: the pixels then leave their range, as they did within 50 steps at 1.5.
        """
        if not 0 <= adversarial_share < 1:
            raise ValueError(
                f"lightning_module.adversarial_share={adversarial_share} must be at least 0 and below 1, "
                "where the error's gradient still holds the pixels"
            )
        super().__init__(
            codec=codec.requires_grad_(True),  # a loaded one comes frozen
            optimizer=optimizer,
            scheduler=scheduler,
            latent_noise=latent_noise,
            squared_error_weight=squared_error_weight,
            statistics_momentum=0.0,
            halved_share=0.0,
            seed=seed,
        )
        codec.encoder.requires_grad_(False)
        self.adversary = adversary
        self.adversarial_share = adversarial_share

    def training_step(self, batch: VideoBatch, batch_idx: int) -> Tensor:
        """batch.video: b 3 f h w, pixels in [-1, 1].

        Raises:
            ValueError: for single pictures, of which the adversary can judge none.
        """
        video = batch.video
        starts = min(PatchDiscriminator.frames, video.shape[2] - PatchDiscriminator.frames + 1)
        if starts < 1:
            raise ValueError(f"datamodule.num_frames={video.shape[2]}: the adversary judges four frames; 5 would do")
        row_generators(self, self.seed, batch_idx, len(video))  # seeds the noise and the groups' start
        start = int(torch.randint(starts, ()))
        made = self._decode(self.codec.encode_raw(video), self.latent_noise)
        seen = made.detach().requires_grad_()
        error = self._error(seen, video)
        scores = self.adversary(seen, start)
        (towards_video,) = torch.autograd.grad(error, seen)
        (towards_real,) = torch.autograd.grad(-scores.mean(), seen, retain_graph=True)
        share = self.adversarial_share * towards_video.norm() / towards_real.norm().clamp_min(1e-12)
        told_apart = hinge(self.adversary(video, start), scores)
        self.log("train/loss", error.detach(), prog_bar=True, batch_size=len(video))
        self.log("train/adversary", told_apart.detach(), prog_bar=True, batch_size=len(video))
        return (made * (towards_video + share * towards_real)).sum() + told_apart
