"""Training runs end to end, at a size of seconds: on real mp4 files, through the real config."""

import io
import json

import pytest
import torch
from composing import composed
from omegaconf import OmegaConf
from tiny_runs import config, generate_config, run_together, weights

from longtake.cli.request import requested
from longtake.cli.take import Take, make_videos
from longtake.cli.training import train
from longtake.releases.checkpoints import read_checkpoint
from longtake.releases.reading import load_run
from longtake.releases.writing import release
from longtake.video import read_frames, write_video

pytestmark = pytest.mark.slow


def test_a_run_leaves_checkpoint_samples_and_both_validation_losses(trained):
    assert (trained / "checkpoints" / "last.ckpt").is_file()
    assert (trained / "samples" / "step_0000006" / "0.mp4").is_file()
    header = (trained / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    for name in ("val/loss", "val/loss_time_0.9", "val_without_global_tokens/loss_time_0.9", "train/plan_loss"):
        assert name in header
    assert "speed/data_wait_share" not in header  # six steps are fewer than the twenty it averages over


def test_blocks_compiled_in_training_learn_the_same_weights(videos, tmp_path):
    settings = ["network=vin_plan", "datamodule.num_frames=[9]", "callbacks.samples=null"]  # a graph a length
    settings += ["backbone.depth=1", "trainer.max_steps=3", "+trainer.limit_val_batches=0"]
    train(config(videos, tmp_path / "eager", *settings))
    settings += ["callbacks=compiled", "callbacks.compiled_blocks.backend=aot_eager"]
    settings += ["callbacks.throughput.count_flops=true"]  # of blocks that are compiled
    train(config(videos, tmp_path / "compiled", *settings))
    torch.testing.assert_close(weights(tmp_path / "compiled"), weights(tmp_path / "eager"), atol=1e-5, rtol=1e-4)


def test_an_unknown_precision_is_refused_by_both_programs(videos, tmp_path):
    words = "matmul_precision=exact must be one of highest, high, medium"
    with pytest.raises(ValueError, match=words):
        train(config(videos, tmp_path / "run", "matmul_precision=exact"))
    cfg = composed("generate", "matmul_precision=exact", f"output={tmp_path}")
    with pytest.raises(ValueError, match=words):
        Take(requested(cfg))


def test_sample_videos_play_in_tensorboard(videos, tmp_path):
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(config(videos, tmp_path / "run", "logger=default", "trainer.max_steps=3"))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    (logged,) = events.Images("samples/0")
    picture = Image.open(io.BytesIO(logged.encoded_image_string))
    assert (logged.step, picture.n_frames, picture.size) == (3, 9, (32, 32))


def test_interrupted_and_resumed_equals_uninterrupted(videos, trained, tmp_path):
    # A schedule that spans the whole run, as it would have been composed for it.
    first = config(videos, tmp_path / "run", "network=vin_plan", "trainer.max_steps=3", "scheduler.total_steps=6")
    train(first)
    second = config(videos, tmp_path / "run", "network=vin_plan", f"resume={tmp_path / 'run'}")
    train(second)
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 6
    for key in ("state_dict", "current_model_state"):
        whole, resumed = weights(trained, key), weights(tmp_path / "run", key)
        for name, value in whole.items():
            assert torch.equal(value, resumed[name]), name


def test_two_processes_equal_one_with_the_same_global_batch(videos, tmp_path):
    own = ["network=vin_plan", "trainer.max_steps=3", "callbacks.samples=null"]
    train(config(videos, tmp_path / "one", *own, "clips_per_device=2"))
    run_together(2, videos, tmp_path / "two", "trainer=ddp_cpu", *own)
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-5, msg=name)


def test_release_round_trip_and_long_takes(videos, trained, tmp_path):
    config_before, before = load_run(trained)
    release(trained, tmp_path / "weights", torch.float32)
    config_after, after = load_run(tmp_path / "weights")
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name
    saved = json.loads((tmp_path / "weights" / "network" / "config.json").read_text())
    assert saved["_class_name"] == "networks.vin.VideoInterfaceNetwork"
    assert {"lightning_module", "optimizer", "backbone"}.isdisjoint(config_after)  # nothing of the training
    assert config_after["objective"] == config_before["objective"]


@pytest.mark.parametrize("rollout", ["single_pass", "full_attention", "autoregressive"])
def test_generate_writes_videos_and_manifest(trained, tmp_path, rollout):
    own = ["rollout.window_frames=4", "rollout.context_frames=1"] if rollout == "autoregressive" else []
    changes = ["prompt=[a square,another]", "num_frames=33", "network.fusion=none", "guidance_scale=2.0"]
    cfg = generate_config(trained, tmp_path, f"rollout={rollout}", *own, *changes)
    paths = make_videos(requested(cfg), write_video)
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == [path.name for path in paths] == ["000.mp4", "001.mp4"]
    assert lines[0]["num_frames"] == 33
    assert lines[0]["guidance_scales"] == {"text": 2.0}
    assert (lines[0]["seed"], lines[1]["seed"]) == (0, 1)
    frames = read_frames(paths[0], height=32, width=32, fps=0, crop_place=0.5)
    assert frames.shape == (33, 32, 32, 3)
    assert frames.std() > 1


def test_a_take_without_tokens_stays_without_them(tmp_path):
    def latents(*overrides):
        few = ["num_frames=77", "num_inference_steps=1", f"output={tmp_path}"]
        take = Take(requested(composed("generate", *few, *overrides)))
        return take.latents("A corridor.", seed=0, on_step=lambda *_: None)

    whole = latents()
    assert torch.equal(latents(), whole)
    assert (latents("without=global_tokens") - whole).abs().max() > 1e-3


def test_checkpoints_load_without_running_code(trained):
    checkpoint = read_checkpoint(trained / "checkpoints" / "last.ckpt")
    assert OmegaConf.create(checkpoint["longtake_config"]).network._target_ == "networks.vin.VideoInterfaceNetwork"
