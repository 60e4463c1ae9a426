"""Metrics inside a LightningModule: logged as objects, right over two batches, and fresh in every epoch."""

import lightning
import pytest
import torch
from pictures import MeanColour, sliding, texture
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from longtake.metrics.consistency import SubjectConsistency
from longtake.metrics.drift import FeatureDrift
from longtake.metrics.motion import MotionMagnitude


class Generator(lightning.LightningModule):
    """Darkens videos more in each epoch, and logs how its videos do: by features, and by flow."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.drift = FeatureDrift(features=MeanColour())
        self.motion = MotionMagnitude()
        self.shown = []

    def training_step(self, batch, _):
        return (self.scale * batch[0]).square().mean()

    def validation_step(self, batch, _):
        videos = self.videos(batch[0])
        self.shown[-1].append(videos)
        self.drift.update(videos)
        self.motion.update(videos, fps=8.0)
        self.log("drift", self.drift, on_step=False, on_epoch=True)
        self.log("motion", self.motion, on_step=False, on_epoch=True)

    def videos(self, batch):
        fading = 1 - 0.3 * (self.current_epoch + 1) * torch.linspace(0, 1, batch.shape[2])
        return batch * fading[:, None, None]

    def on_validation_epoch_start(self):
        self.shown.append([])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_two_metrics_are_logged_over_two_batches_and_reset_between_epochs():
    # three videos in batches of two and one: a mean of the batches' means would be wrong
    videos = torch.cat([sliding(speed, 6) for speed in (1, 2, 4)]) * 0.5 + texture(8)[None, :, None, :1, :1] * 0.3
    loader = DataLoader(TensorDataset(videos.clamp(-1, 1)), batch_size=2)
    module, seen = Generator(), []

    class Keep(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            seen.append({name: float(trainer.callback_metrics[name]) for name in ("drift", "motion")})

    trainer = lightning.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=[Keep()], log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(module, loader, loader)
    assert [len(batches) for batches in module.shown] == [2, 2]
    for epoch in (0, 1):
        rows = torch.cat(module.shown[epoch])
        drift, motion = FeatureDrift(features=MeanColour()), MotionMagnitude()
        expected = {
            "drift": sum(drift.measure(row).score for row in rows) / 3,
            "motion": sum(motion.measure(row, fps=8.0).score for row in rows) / 3,
        }
        assert seen[epoch] == pytest.approx(expected, rel=1e-5)
    assert seen[0]["drift"] != pytest.approx(seen[1]["drift"], rel=1e-3)
    assert float(module.drift.count) == 0  # reset after the last epoch as well
    assert not list(module.drift.state_dict())  # nothing of a metric gets into checkpoints


def test_frozen_features_are_no_part_of_what_is_trained():
    from longtake.metrics.features import TimmFeatures

    frozen = TimmFeatures(model=nn.Conv2d(3, 4, 8), name="conv", mean=(0, 0, 0), std=(1, 1, 1), size=8)
    metric = SubjectConsistency(features=frozen)
    assert not [parameter for parameter in metric.parameters() if parameter.requires_grad]
