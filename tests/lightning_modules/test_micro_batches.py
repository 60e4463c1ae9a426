"""How a global batch is shared out over micro-batches changes nothing, not even after a resume."""

import shutil

import pytest
import torch
from tiny_runs import MEMORY, config, memory_config, weights

from longtake.cli.training import train

pytestmark = pytest.mark.slow

TIGHT = {"rtol": 1e-3, "atol": 1e-5}
OVERLAPS = "network.context_loss_rate=0.3"
LEAN = ("callbacks.samples=null", "lightning_module.validation_times=[0.5]")
"""What is compared is the weights alone."""


def assert_same(one, other):
    torch.testing.assert_close(weights(one, "current_model_state"), weights(other, "current_model_state"), **TIGHT)


def test_tokens_are_dropped_row_by_row(videos, tmp_path):
    cfg = config(videos, tmp_path / "four", OVERLAPS, "network.token_dropout=0.5", *LEAN)
    assert cfg.clips_per_device == 4
    train(cfg)
    train(config(videos, tmp_path / "two", OVERLAPS, "network.token_dropout=0.5", "clips_per_device=2", *LEAN))
    assert_same(tmp_path / "four", tmp_path / "two")


@pytest.fixture(scope="module")
def two(videos, tmp_path_factory):
    """A run of micro-batches of two clips."""
    run = tmp_path_factory.mktemp("two")
    train(config(videos, run, "clips_per_device=2", *LEAN))
    return run


@pytest.fixture(scope="module")
def half(videos, tmp_path_factory):
    """Half of a run of micro-batches of four."""
    run = tmp_path_factory.mktemp("half")
    train(config(videos, run, "clips_per_device=4", "trainer.max_steps=3", "scheduler.total_steps=6", *LEAN))
    return run


@pytest.mark.parametrize("most", ["2", "1"])
def test_a_run_goes_on_with_other_micro_batches(videos, two, half, tmp_path, most):
    shutil.copytree(half, tmp_path / "parts")
    train(config(videos, tmp_path / "parts", f"clips_per_device={most}", f"resume={tmp_path / 'parts'}", *LEAN))
    saved = torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
    assert_same(two, tmp_path / "parts")


def test_with_what_is_dropped_by_default(videos, two, tmp_path):
    cfg = config(videos, tmp_path / "four", *LEAN)
    assert cfg.network.token_dropout > 0
    train(cfg)
    assert_same(tmp_path / "four", two)


def test_another_global_batch_is_refused_when_resuming(videos, tmp_path):
    train(config(videos, tmp_path / "run", "trainer.max_steps=1", *LEAN))
    with pytest.raises(ValueError, match=r"global_batch_size=2, but the run was trained with 4.*pretrained=") as caught:
        train(config(videos, tmp_path / "run", "global_batch_size=2", f"resume={tmp_path / 'run'}"))
    assert "\n" not in str(caught.value)


def test_memory_training_draws_row_by_row(videos, tmp_path):
    for most in ("4", "2"):
        # A mean over what there is to reconstruct is one of its own in every micro-batch, so that part is left out.
        # AdamW: Muon enlarges the rounding in gradients of low rank as far as a row drawn otherwise would change them.
        parts = ["pretrained=null", "lightning_module.reconstruction_weight=0", "optimizer=adamw"]
        parts.append(f"clips_per_device={most}")
        memory = [key for key in MEMORY if not key.startswith("~")]
        cfg = memory_config(videos, tmp_path / most, "experiment=lovic_freedoom", *memory, *parts)
        assert min(cfg.lightning_module.memory_dropout, cfg.lightning_module.max_level) > 0
        cfg.lightning_module.memory_dropout = 0.5
        train(cfg)
    assert_same(tmp_path / "4", tmp_path / "2")
