"""What stands on the progress bar of a training."""

import pytest
import torch
from hydra.utils import instantiate
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from lightning_modules.callbacks.progress import StepProgressBar
from longtake.configs import CONF


class Line(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, _):
        loss = self.layer(batch).square().mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=1)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_bar_says_losses_and_neither_an_epoch_nor_a_loggers_version(tmp_path, capsys):
    bar = StepProgressBar(refresh_rate=1)
    logger = CSVLogger(tmp_path, name="", version="csv")
    trainer = Trainer(
        max_steps=2, logger=logger, callbacks=[bar], enable_checkpointing=False, accelerator="cpu",
        enable_model_summary=False, log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(Line(), DataLoader(torch.ones(2, 1)))
    said = "".join(capsys.readouterr())
    assert "training: 100%" in said
    assert "train/loss=" in said
    assert "v_num" not in said
    assert "Epoch" not in said


def test_every_run_has_it():
    node = OmegaConf.load(CONF / "callbacks" / "codec.yaml").progress
    assert isinstance(instantiate(node), StepProgressBar)


@pytest.mark.parametrize("rate", [0, 5])
def test_its_rate_is_the_settings(rate):
    assert StepProgressBar(refresh_rate=rate).refresh_rate == rate
