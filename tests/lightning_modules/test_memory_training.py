"""LoViC's two stages and the hybrid, from mp4 files to a long take and a storyboard, at a size of seconds."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
import torch
from composing import ROOT, composed
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from safetensors.torch import load_file, save_file
from tiny_runs import MEMORY, generate_config, weights
from tiny_runs import memory_config as config

from longtake.cli.request import requested
from longtake.cli.storyboard import make_storyboard_video
from longtake.cli.take import make_videos
from longtake.cli.training import train
from longtake.releases.reading import load_run, read_run
from longtake.releases.writing import release
from longtake.video import read_frames, write_video
from networks.saving import WEIGHTS

pytestmark = pytest.mark.slow


def header(run):
    return (run / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")


@pytest.fixture(scope="module")
def compressed(videos, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "flexformer"
    rates = "lightning_module.validation_rates=[2,4,8]"
    drop = ("callbacks.", "sampler.")
    assert np.isfinite(train(config(videos, run, "experiment=flexformer_freedoom", rates, drop=drop)))
    return run


@pytest.fixture(scope="module")
def lovic(videos, compressed, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "lovic"
    cfg = config(videos, run, "experiment=lovic_freedoom", *MEMORY, f"pretrained.compressor={compressed}")
    assert np.isfinite(train(cfg))
    return run


def test_the_first_stage_logs_reconstruction_at_every_rate(compressed):
    logged = ("val/nmse_rate_2", "val/nmse_rate_8", "val/text_cosine_rate_4", "val/loss")
    for name in (*logged, "train/effective_rate", "train/context_tokens"):
        assert name in header(compressed)


def test_the_second_stage_logs_each_task_with_and_without_memory(lovic):
    for task in ("prediction", "retrodiction", "interpolation"):
        assert f"val/{task}_time_0.9" in header(lovic)
        assert f"val_without_memory/{task}" in header(lovic)
    for name in ("train/reconstruction_loss", "train/effective_rate", "train/memory_tokens"):
        assert name in header(lovic)
    lines = csv.DictReader((lovic / "csv" / "metrics.csv").read_text().splitlines())
    for line in (line for line in lines if line["train/memory_tokens"]):
        # Two latent frames of two by two patches; at most two segments of a row are remembered.
        tokens = 8 / float(line["train/effective_rate"])
        assert tokens in (1, 2)  # rates from 4 to 8
        assert 0 <= float(line["train/memory_tokens"]) <= 2 * tokens


def test_the_compressor_starts_from_the_first_stage_and_learns_at_its_own_rate(lovic, compressed):
    first = {k.removeprefix("network."): v for k, v in weights(compressed).items()}
    second = {k.removeprefix("network.compressor."): v for k, v in weights(lovic).items() if ".compressor." in k}
    assert first.keys() == second.keys()
    moved = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert 0 < moved < 0.02  # six steps at a fifth of 1e-3, and averaged


def test_a_long_take_at_a_rate_of_the_moment(lovic, tmp_path):
    (path,) = make_videos(
        requested(generate_config(lovic, tmp_path, "num_frames=25", "compression_ratio=2", 'prompt="a square"')),
        write_video,
    )
    assert read_frames(path, height=32, width=32, fps=0, crop_place=0.5).shape == (25, 32, 32, 3)
    line = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert line["rollout"]["compression_ratio"] == 2
    assert line["boundaries"] == [5, 13, 21]


@pytest.fixture(scope="module")
def released(lovic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("released") / "lovic"
    release(lovic, folder, torch.float32, decoder=False)
    return folder


def test_a_release_without_the_decoder_lacks_nothing_else(lovic, released):
    whole, part = load_run(lovic)[1].network.state_dict(), load_file(released / "network" / WEIGHTS)
    missing = whole.keys() - part.keys()
    assert missing == {name for name in whole if name.startswith("compressor.decoder.")} != set()
    assert all(torch.equal(whole[name], value) for name, value in part.items())


def test_a_release_can_be_an_average_with_other_weights_of_its_network(lovic, released, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(released, other)
    (told,) = other.glob("config.yaml")
    told.write_text(re.sub(r"rates:\n- \S+\n- \S+", "rates:\n- 1.0\n- 6.0", told.read_text()))
    own = load_file(released / "network" / WEIGHTS)
    changed = {name: value + 1 for name, value in own.items()}
    save_file(changed, other / "network" / WEIGHTS, metadata={"format": "pt"})
    release(lovic, tmp_path / "average", torch.float32, decoder=False, average=(str(other), 0.25))
    made = load_file(tmp_path / "average" / "network" / WEIGHTS)
    assert made.keys() == own.keys()
    for name, value in made.items():
        torch.testing.assert_close(value, own[name] + 0.25)
    assert read_run(tmp_path / "average")[0]["rates"] == [1.0, 8.0]  # what either was trained at
    with pytest.raises(ValueError, match=r"average\.weights=.*vin_freedoom_64: \d+ of \d+ tensors are missing"):
        release(lovic, tmp_path / "none", torch.float32, average=(ROOT / "weights" / "vin_freedoom_64", 0.5))
    assert not (tmp_path / "none").exists()


def test_a_release_makes_the_same_take(lovic, tmp_path):
    release(lovic, tmp_path / "release", torch.float32)
    made = []
    for number, source in enumerate((lovic, tmp_path / "release")):
        torch.manual_seed(0)  # for the untrained codec
        (path,) = make_videos(
            requested(generate_config(source, tmp_path / str(number), "num_frames=17", "prompt=a")), write_video
        )
        made.append(path.read_bytes())
    assert made[0] == made[1]


def test_what_has_no_decoder_says_so(lovic, released, compressed, videos, tmp_path):
    _, module = load_run(released)
    with pytest.raises(ValueError, match=r"no decoder \(decoder_depth=0\), which training and reconstruction need"):
        module.network.compressor.decode(None, 2, 4, 4, 1)
    cfg = config(
        videos, tmp_path / "run", "experiment=lovic_freedoom", *MEMORY, f"pretrained.compressor='{released}#compressor'"
    )
    with pytest.raises(
        ValueError, match=r"does not fit FlexFormer: \d+ tensors differ.*give weights that have the rest"
    ):
        train(cfg)
    whole = ("experiment=lovic_freedoom", *MEMORY[:-1], f"pretrained='{released}'")
    with pytest.raises(ValueError, match=r"released without the decoder, so add compressor\.decoder_depth=0 and"):
        train(config(videos, tmp_path / "run", *whole))
    encoder_alone = ("compressor.decoder_depth=0", "lightning_module.reconstruction_weight=0")
    assert np.isfinite(train(config(videos, tmp_path / "run", *whole, *encoder_alone)))
    for run in (compressed, ROOT / "weights" / "vin_freedoom_64"):
        with pytest.raises(ValueError, match=r"decoder=false: .* has no network with a compressor"):
            release(run, tmp_path / "none", torch.float32, decoder=False)


STORYBOARD = """
prompt: a square
seed: 3
segments:
  - {name: one, latents: 2, shot: a}
  - {name: two, latents: 2, shot: b, compression_ratio: 2}
  - {name: back, latents: 2, shot: a}
"""


def test_a_storyboard_is_made_kept_and_rolled_again(lovic, tmp_path, caplog):
    board = tmp_path / "board.yaml"
    board.write_text(STORYBOARD)
    cfg = generate_config(lovic, tmp_path / "out", f"storyboard={board}")
    with caplog.at_level("INFO", logger="longtake"):
        make_storyboard_video(
            requested(generate_config(lovic, tmp_path / "out", f"storyboard={board}", "dry_run=true")),
            write_video,
            read_frames,
        )
    assert "TFLOPs" in caplog.text
    assert "keys and values" in caplog.text
    assert "two at ratio 2: 4 context tokens, effective ratio 2.00" in caplog.text
    assert not (tmp_path / "out" / "000.mp4").exists()
    path = make_storyboard_video(requested(cfg), write_video, read_frames)
    frames = read_frames(path, height=32, width=32, fps=0, crop_place=0.5)
    assert len(frames) == 5 + 8 + 8
    (line,) = [json.loads(text) for text in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert (line["boundaries"], line["cuts"]) == ([5, 13], [5, 13])
    board.write_text(STORYBOARD.replace("compression_ratio: 2}", "compression_ratio: 2, seed: 9}"))
    caplog.clear()
    with caplog.at_level("INFO", logger="longtake"):
        make_storyboard_video(requested(cfg), write_video, read_frames)
    assert "one: there already" in caplog.text
    assert "two: made" in caplog.text
    assert "back: made" in caplog.text  # it remembers the one that changed


def test_the_hybrid_learns_from_releases_and_rolls_out(videos, compressed, released, tmp_path):
    chunks = ["network.window.chunk_frames=2", "network.window.train_local_frames=1", "network.window.local_frames=1"]
    small = ["interface.num_tokens=4", "interface.depth=1"]
    parts = [
        f"pretrained.compressor=['{compressed}','{released}#compressor']",
        f"pretrained.adapter='{released}#adapter'",
    ]
    cfg = config(videos, tmp_path / "run", "experiment=vin_lovic_freedoom", *chunks, *small, *MEMORY, *parts)
    assert np.isfinite(train(cfg))
    _, module = load_run(tmp_path / "run")
    assert module.network.window.chunk_frames == 2
    output = generate_config(tmp_path / "run", tmp_path / "out", "num_frames=33", "prompt=a")
    (path,) = make_videos(requested(output), write_video)
    assert len(read_frames(path, height=32, width=32, fps=0, crop_place=0.5)) == 33


@pytest.mark.parametrize("experiment", ["lovic_freedoom", "vin_lovic_freedoom"])
def test_the_baseline_without_memory_composes(experiment):
    cfg = composed("train", f"experiment={experiment}", "compressor=none")
    assert cfg.compressor is None
    assert cfg.lightning_module.network.compressor is None
    assert cfg.pretrained.compressor  # left out when it is loaded
    network = instantiate(cfg.network)
    assert network.takes_segments
    assert not network.has_memory
    assert network.ablations == (() if experiment == "lovic_freedoom" else ("global_tokens",))


def test_the_baseline_without_memory_learns_and_rolls_out(videos, trained, tmp_path, caplog):
    run = tmp_path / "run"
    memory = [key for key in MEMORY if not key.startswith("~")]
    parts = [f"pretrained.window='{trained}#backbone'", "pretrained.compressor=weights/none"]
    cfg = config(videos, run, "experiment=lovic_freedoom", "compressor=none", *memory, *parts, drop=("compressor.",))
    with caplog.at_level("INFO", logger="longtake"):
        assert np.isfinite(train(cfg))
    assert "pretrained.compressor: left out, since this network goes without one" in caplog.text
    assert "val/prediction_time_0.9" in header(run)
    assert not any(name.startswith(("val_without_memory/", "train/memory_tokens")) for name in header(run))
    first, second = weights(trained), weights(run)
    assert not any("compressor" in name for name in second)
    start = {k.removeprefix("network.backbone."): v for k, v in first.items() if k.startswith("network.backbone.")}
    moved = {k: float((second[f"network.window.{k}"] - v).abs().max()) for k, v in start.items()}
    assert 0 < max(moved.values()) < 0.05  # from the backbone that was given, by six steps
    release(run, tmp_path / "release", torch.float32)
    output = generate_config(tmp_path / "release", tmp_path / "out", "num_frames=17", "prompt=a")
    with caplog.at_level("WARNING", logger="longtake"):
        (path,) = make_videos(requested(output), write_video)
    assert "have no compressor: a segment sees the frames beside it, and no memory" in caplog.text
    assert read_frames(path, height=32, width=32, fps=0, crop_place=0.5).shape == (17, 32, 32, 3)


def test_parts_that_do_not_fit_are_refused_in_one_sentence(videos, compressed, tmp_path):
    cfg = config(videos, tmp_path, "experiment=lovic_freedoom", *MEMORY)
    for parts, words in (
        ({"compressor": "nowhere"}, "pretrained.compressor=nowhere: no such file"),
        (
            {"compresor": str(compressed)},
            r"pretrained\.compresor: the network has no such part; it has window, compressor",
        ),
        ({"window": str(compressed)}, r"pretrained\.window=.* does not fit VideoDiT: \d+ tensors differ"),
    ):
        cfg.pretrained = parts
        with pytest.raises(ValueError, match=words):
            train(cfg)


def test_a_rate_without_a_memory_is_refused(lovic, tmp_path):
    with pytest.raises(ValueError, match="compression_ratio=4 needs rollout=segmentwise"):
        make_videos(
            requested(generate_config(lovic, tmp_path, "rollout=single_pass", "compression_ratio=4")), write_video
        )


def test_a_first_stage_without_a_compressor_is_refused(videos, tmp_path):
    drop = ("callbacks.", "sampler.", "compressor.")
    cfg = config(videos, tmp_path, "experiment=flexformer_freedoom", "compressor=none", drop=drop)
    with pytest.raises(InstantiationException, match="none is chosen: add compressor=flexformer"):
        train(cfg)


def test_weights_of_a_compressor_make_no_video(compressed, tmp_path):
    with pytest.raises(ValueError, match="hold a compressor, which makes no videos"):
        make_videos(requested(generate_config(compressed, tmp_path)), write_video)
