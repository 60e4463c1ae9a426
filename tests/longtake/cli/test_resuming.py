"""What a resumed run takes over, what may be other, and what is refused by name."""

import logging

import pytest
import torch
from builders import tiny_codec
from composing import ROOT
from lightning import Callback
from tiny_runs import config
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from lightning_modules.callbacks.resuming import retune
from lightning_modules.optimization import warmup_cosine
from longtake.cli.training import keep_curves, train
from networks.saving import read_config

TAUGHT = ("scheduler.warmup_steps=2", "scheduler.total_steps=6", "callbacks.finite_loss.every_n_steps=1")
RATES = "+callbacks.rates._target_=test_resuming.Rates"


class Rates(Callback):
    """Notes the rates that steps are really taken with."""

    seen: dict[int, float] = {}  # noqa: RUF012 - emptied by each test
    decays: dict[int, float] = {}  # noqa: RUF012

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen[trainer.global_step] = optimizer.param_groups[0]["lr"]
        self.decays[trainer.global_step] = optimizer.param_groups[0]["weight_decay"]


@pytest.fixture(autouse=True)
def empty():
    Rates.seen.clear()
    Rates.decays.clear()


@pytest.fixture(scope="module")
def first(videos, tmp_path_factory):
    """Three steps of a run of six."""
    run = tmp_path_factory.mktemp("runs") / "first"
    train(config(videos, run, "trainer.max_steps=3", *TAUGHT))
    return run


@pytest.mark.slow
def test_the_advice_after_a_nan_works(videos, first, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="longtake")
    with pytest.raises(ValueError, match=r"stopped being .*resume=\S+/last\.ckpt optimizer\.lr=\S+$") as caught:
        train(config(videos, tmp_path / "nan", f"resume={first}", "optimizer.lr=1e30", RATES, *TAUGHT))
    assert Rates.seen[3] > 1e29
    advice = str(caught.value).split("rate: ")[1].split()
    assert advice[0] == f"resume={first / 'checkpoints' / 'last.ckpt'}"
    Rates.seen.clear()
    loss = train(config(videos, tmp_path / "on", advice[0], "optimizer.lr=1e-4", RATES, *TAUGHT))
    assert loss == loss
    shape = warmup_cosine(
        AdamW([nn.Parameter(torch.zeros(1))], lr=1e-4), warmup_steps=2, total_steps=6, min_lr_ratio=0.1
    )
    assert Rates.seen == {step: pytest.approx(1e-4 * shape.lr_lambdas[0](step)) for step in (3, 4, 5)}
    assert "resume: optimizer.lr 0.001 -> 0.0001" in caplog.messages
    assert any("the learning rate goes on at" in line and "step 3" in line for line in caplog.messages)


@pytest.mark.slow
def test_nothing_changed_changes_nothing(videos, first, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="longtake")
    train(config(videos, tmp_path / "on", f"resume={first}", RATES, *TAUGHT))
    shape = warmup_cosine(
        AdamW([nn.Parameter(torch.zeros(1))], lr=1e-3), warmup_steps=2, total_steps=6, min_lr_ratio=0.1
    )
    assert Rates.seen == {step: 1e-3 * shape.lr_lambdas[0](step) for step in (3, 4, 5)}
    assert not any(line.startswith("resume:") for line in caplog.messages)


@pytest.mark.slow
def test_extending_a_run_says_how_its_rate_changes(videos, first, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="longtake")
    more = ["trainer.max_steps=5", "scheduler.total_steps=12", "optimizer.weight_decay=0.3"]
    train(config(videos, tmp_path / "on", f"resume={first}", RATES, *TAUGHT, *more))
    assert "resume: scheduler.total_steps 6 -> 12" in caplog.messages
    assert Rates.decays == {3: 0.3, 4: 0.3}
    shape = warmup_cosine(
        AdamW([nn.Parameter(torch.zeros(1))], lr=1e-3), warmup_steps=2, total_steps=12, min_lr_ratio=0.1
    )
    assert Rates.seen[3] == pytest.approx(1e-3 * shape.lr_lambdas[0](3))


@pytest.mark.slow
def test_another_kind_of_schedule_takes_effect(videos, first, tmp_path):
    other = ["scheduler._target_=torch.optim.lr_scheduler.StepLR", "+scheduler.step_size=2", "+scheduler.gamma=0.5"]
    gone = ["~scheduler.warmup_steps", "~scheduler.total_steps", "~scheduler.min_lr_ratio"]
    train(config(videos, tmp_path / "on", f"resume={first}", RATES, "trainer.max_steps=6", *other, *gone))
    assert Rates.seen == pytest.approx({3: 5e-4, 4: 2.5e-4, 5: 2.5e-4})


def test_a_schedule_that_goes_by_its_own_state_is_where_it_would_be():
    def made(rate):
        optimizer = AdamW([nn.Parameter(torch.ones(2))], lr=rate)
        return optimizer, CosineAnnealingLR(optimizer, T_max=10)

    optimizer, schedule = made(1.0)
    for _ in range(4):
        optimizer.step()
        schedule.step()
    _, fresh = made(0.1)
    retune(optimizer, schedule, fresh, 4)
    other, expected = made(0.1)
    for _ in range(4):
        other.step()
        expected.step()
    for _ in range(3):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(other.param_groups[0]["lr"])
        for each in (optimizer, other, schedule, expected):
            each.step()


@pytest.mark.slow
def test_another_optimizer_is_refused_by_name(videos, first, tmp_path):
    with pytest.raises(ValueError, match=r"trained by torch\.optim\.AdamW, and timm\.optim\.Muon cannot use"):
        train(config(videos, tmp_path / "on", f"resume={first}", "optimizer=muon", *TAUGHT))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [3, 2])
def test_a_finished_run_says_so_and_trains_nothing(videos, first, tmp_path, caplog, steps):
    caplog.set_level(logging.INFO, logger="longtake")
    run = tmp_path / "on"
    assert train(config(videos, run, f"resume={first}", f"trainer.max_steps={steps}", RATES, *TAUGHT)) is None
    assert caplog.messages[-1].startswith(f"nothing to train: {first / 'checkpoints' / 'last.ckpt'} is at step 3")
    assert "trainer.max_steps=6 goes on" in caplog.messages[-1]
    assert Rates.seen == {}
    assert not (run / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("trainer.max_steps=0", r"trainer\.max_steps=0 trains nothing"),
        ("pretrained=[a.ckpt,b.ckpt]", r"pretrained=\['a\.ckpt', 'b\.ckpt'\]: give one"),
        ("pretrained=5", r"pretrained=5: give one"),
        ("pretrained=true", r"pretrained=True: give one"),
        ("callbacks.checkpoint.every_minutes=0", r"callbacks\.checkpoint\.every_minutes=0 must be above 0"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(videos, tmp_path, change, answer):
    with pytest.raises(Exception, match=answer):
        train(config(videos, tmp_path / "run", change))
    assert not list(tmp_path.rglob("*.ckpt"))


@pytest.mark.slow
def test_an_untrained_codec_is_refused_in_a_training_of_a_network(videos, tmp_path):
    cfg = config(videos, tmp_path / "run")
    sizes = {key: value for key, value in read_config(tiny_codec()).items() if not key.startswith("_")}
    cfg.codec = {"_target_": "networks.codecs.causal.CausalVideoAutoencoder", **sizes}
    with pytest.raises(ValueError, match="CausalVideoAutoencoder is untrained"):
        train(cfg)


@pytest.mark.slow
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("pretrained", "state_dict"),
        ("resume", "state_dict"),
        ("resume", "current_model_state"),
        ("resume", "optimizer_states"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(videos, first, tmp_path, word, key, bad):
    checkpoint = torch.load(first / "checkpoints" / "last.ckpt", weights_only=True)
    node = checkpoint[key]
    if key == "optimizer_states":
        node = node[0]["state"][0]
    name = next(name for name, value in node.items() if value.is_floating_point() and value.ndim)
    node[name].view(-1)[0] = bad
    torch.save(checkpoint, tmp_path / "bad.ckpt")
    with pytest.raises(ValueError, match=rf"(bad\.ckpt|{word}).* holds NaN or infin"):
        train(config(videos, tmp_path / "run", f"{word}={tmp_path / 'bad.ckpt'}", *TAUGHT))


def test_runs_have_folders_of_their_own():
    text = (ROOT / "conf" / "paths" / "default.yaml").read_text()
    assert "%S-%f" in text  # microseconds; tests/longtake/releases/test_checkpoints.py has what happens in the same one


@pytest.mark.slow
def test_last_is_written_by_the_clock(videos, tmp_path):
    run = tmp_path / "run"
    clock = ["callbacks.checkpoint.every_minutes=1e-9", "trainer.val_check_interval=6"]
    killed = ["+callbacks.bomb._target_=test_resuming.Fails", "+callbacks.bomb.batch=4"]
    with pytest.raises(RuntimeError, match="planted"):
        train(config(videos, run, *clock, *killed))
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["last.ckpt"]
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4


class Fails(Callback):
    """Raises where a batch begins."""

    def __init__(self, *, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.batch:
            raise RuntimeError("planted")


def test_curves_of_a_run_that_goes_on_in_its_folder_are_kept(tmp_path):
    (tmp_path / "csv").mkdir()
    for number in (1, 2):
        (tmp_path / "csv" / "metrics.csv").write_text(f"run {number}")
        keep_curves(tmp_path)
    assert not (tmp_path / "csv" / "metrics.csv").exists()
    assert [(tmp_path / "csv" / f"metrics_{number}.csv").read_text() for number in (1, 2)] == ["run 1", "run 2"]
