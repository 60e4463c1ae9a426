"""Runs that cannot work end in one sentence before any video is made or read; and what a GPU's peak is taken to be."""

from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate
from tiny_runs import config

from lightning_modules.callbacks.throughput import peak_by_name, peak_of
from longtake.cli.checks import check_sizes
from longtake.cli.training import start_wandb, train


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ("datamodule.height=24", r"datamodule\.height=24 must be a multiple of 16 .*: use (16|32)$"),
        ("datamodule.width=56", r"datamodule\.width=56 must be a multiple of 16 .*: use (48|64)$"),
        ("datamodule.num_frames=[5,10]", r"datamodule\.num_frames=10 breaks the codec's rule 4n \+ 1: use 9 or 13$"),
    ],
)
def test_a_size_that_makes_no_patches_is_refused_before_anything_is_cached(videos, tmp_path, change, answer):
    cfg = config(videos, tmp_path / "run", change, f"datamodule.cache_dir={tmp_path / 'cache'}")
    with pytest.raises(ValueError, match=answer) as caught:
        train(cfg)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_precision_that_a_cpu_lacks_is_refused_and_not_replaced(videos, tmp_path):
    with pytest.raises(ValueError, match=r"trainer\.precision=16-mixed: a CPU has no mixed precision in float16"):
        train(config(videos, tmp_path / "run", "trainer.precision=16-mixed"))


def test_sizes_that_fit_pass(videos, tmp_path):
    cfg = config(videos, tmp_path, "datamodule.height=48")
    check_sizes(cfg.datamodule, instantiate(cfg.codec), 2)


def test_wandb_without_a_key_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"`wandb login`, set WANDB_API_KEY, or add logger.wandb.offline=true"
    ) as caught:
        start_wandb([WandbLogger(project="p", save_dir=str(tmp_path))])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA L40S", 362.1),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA GeForce GTX 1080", None),
    ],
)
def test_peaks_are_known_by_name(name, peak, monkeypatch):
    assert peak_by_name(name) == peak
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_of(SimpleNamespace(precision="bf16-mixed"), torch.device("cuda")) == peak
    assert peak_of(SimpleNamespace(precision="32-true"), torch.device("cuda")) is None
    assert peak_of(SimpleNamespace(precision="bf16-mixed"), torch.device("cpu")) is None
