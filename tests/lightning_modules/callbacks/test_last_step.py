"""A run of any number of steps ends validated, sampled and saved at its last one, and goes on exactly from there."""

import csv

import pytest
import torch
from tiny_runs import config, weights

from longtake.cli.training import train

pytestmark = pytest.mark.slow


def validated(run):
    with (run / "csv" / "metrics.csv").open(newline="") as file:
        return [int(row["step"]) + 1 for row in csv.DictReader(file) if row["val/loss"]]


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    train(config(videos, run))
    return run


@pytest.mark.parametrize(("steps", "at"), [(2, [2]), (4, [3, 4])])
def test_the_last_step_is_validated_sampled_and_saved_and_gone_on_from(videos, whole, tmp_path, steps, at):
    run = tmp_path / "run"
    loss = train(config(videos, run, f"trainer.max_steps={steps}", "scheduler.total_steps=6"))
    assert loss is not None
    assert validated(run) == at
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", f"step_{steps:07d}.ckpt"}
    assert (run / "samples" / f"step_{steps:07d}" / "0.mp4").is_file()
    # The averaged weights beside those that training goes on with.
    average, current = weights(run), weights(run, "current_model_state")
    assert any(not torch.equal(value, current[name]) for name, value in average.items())
    train(config(videos, run, f"resume={run}"))  # equals never having stopped
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    for key in ("state_dict", "current_model_state"):
        torch.testing.assert_close(weights(whole, key), weights(run, key), rtol=0, atol=0)
