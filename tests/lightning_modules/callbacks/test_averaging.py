import pytest
import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from lightning_modules.callbacks.averaging import WarmAverage
from longtake.compat.lightning import average_of

STEPS = 12
FROZEN = 200_000


class Small(LightningModule):
    def __init__(self):
        super().__init__()
        self.learnt = nn.Linear(4, 1)
        self.frozen = nn.Parameter(torch.randn(FROZEN), requires_grad=False)
        self.frozen[0] = -0.0
        self.register_buffer("table", torch.arange(3))
        self.ends = []
        self.kept = None

    def training_step(self, batch, batch_idx):
        return (self.learnt(batch) - 1).square().mean()

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.ends.append(self.learnt.weight.detach().clone())
        if self.kept is not None and len(self.ends) == STEPS // 2:
            self.trainer.save_checkpoint(self.kept)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.02)


def fit(module, average, resume=None):
    data = DataLoader(torch.linspace(-1, 1, 4).expand(STEPS, -1), batch_size=1)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    trainer = Trainer(accelerator="cpu", max_steps=STEPS, callbacks=[average], **quiet)
    trainer.fit(module, data, ckpt_path=resume)
    return trainer


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_it_is_the_average_by_hand_and_leaves_tables(decay):
    module, average = Small(), WarmAverage(decay=decay)
    fit(module, average)
    mean = module.ends[0]
    for count, weight in enumerate(module.ends[1:], start=1):
        kept = min((1 + count) / (10 + count), decay)
        mean = kept * mean + (1 - kept) * weight
    assert (mean - module.ends[-1]).abs().max() > 1e-3
    torch.testing.assert_close(module.learnt.weight.detach(), mean)  # what training ends with
    assert average_of(average).module.table.tolist() == [0, 1, 2]


def test_what_is_frozen_is_kept_once(tmp_path):
    module, average = Small(), WarmAverage(decay=0.9)
    trainer = fit(module, average)
    mean = average_of(average).module
    assert mean.frozen.data_ptr() == module.frozen.data_ptr()
    assert mean.learnt.weight.data_ptr() != module.learnt.weight.data_ptr()
    assert module.frozen[0].signbit()  # to the bit
    trainer.save_checkpoint(tmp_path / "small.ckpt")
    assert (tmp_path / "small.ckpt").stat().st_size < 1.5 * FROZEN * 4


def test_it_goes_on_with_what_is_frozen_as_if_never_stopped(tmp_path):
    whole, again = Small(), Small()
    whole.kept = tmp_path / "half.ckpt"
    fit(whole, WarmAverage(decay=0.9))
    fit(again, WarmAverage(decay=0.9), resume=tmp_path / "half.ckpt")
    assert len(again.ends) == STEPS - STEPS // 2
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_it_follows_the_module_to_its_device_and_counts_on_the_cpu():
    module, average, trainer = Small(), WarmAverage(decay=0.9), Trainer(accelerator="cpu", logger=False)
    average.setup(trainer, module, "fit")
    module.to("meta")  # as a strategy moves it, after setup
    average.on_fit_start(trainer, module)
    assert average_of(average).module.learnt.weight.device.type == "meta"
    assert average_of(average).n_averaged.device.type == "cpu"
