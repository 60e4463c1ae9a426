"""What released weights sample and experiments learn stays the same: numbers of an earlier version, kept in a file.

The file holds, for each case, a hash of the result's bytes and its dot products with eight fixed random directions. On
the machine and library that wrote it the hash must agree; elsewhere the dot products, to a relative tolerance.
`GOLDEN=write pytest tests/test_golden.py -n 0` writes the file anew, for a commit that means to change results.
"""

import hashlib
import json
import os
import platform
from pathlib import Path

import pytest
import torch
from composing import composed

from longtake.cli.request import requested
from longtake.cli.take import Take
from longtake.cli.training import train
from longtake.video import write_video

ROOT = Path(__file__).parents[1]
FILE = Path(__file__).parent / "golden.json"
TOLERANCE = 2e-3
"""Of dot products, in units of the result's norm: kernels of other CPUs round otherwise, and two steps amplify it."""

VIN = ("single_pass", "full_attention", "autoregressive", "free_noise", "gen_l_video", "spectral_blending", "anchored")
TAKES = [("vin_freedoom_64", rollout) for rollout in VIN] + [
    *(("lovic_freedoom_64", rollout) for rollout in ("segmentwise", "single_pass", "autoregressive", "full_attention")),
    *(("vin_lovic_freedoom_64", rollout) for rollout in ("segmentwise", "single_pass")),
]
SHORT = ["num_frames=77", "num_inference_steps=2", 'prompt="A marine in red, walking"', "seed=3"]
SMALL = [
    "datamodule.make=null",
    "datamodule.table=null",
    "datamodule.validation_share=0.2",
    "datamodule.num_validation_clips=2",
    "global_batch_size=2",
    "clips_per_device=2",
    "trainer.max_steps=3",
    "trainer.val_check_interval=3",
    "trainer.log_every_n_steps=1",
    "+trainer.limit_val_batches=0",
    "matmul_precision=highest",
    "~callbacks.progress",
    "~callbacks.samples",
    "logger=csv",
]
UNCOUNTED = "callbacks.throughput.count_flops=false"
"""Of experiments whose kind of training is counted in another one."""
EXPERIMENTS = {
    "vin": ["datamodule=folder", "start=null"],  # where its DiT begins from nothing
    "vin_freedoom": [
        *("experiment=vin_freedoom", "datamodule.num_frames=[37,77]", "datamodule.hop_frames=20"),
        UNCOUNTED,
    ],
    "frames_freedoom": ["experiment=frames_freedoom", UNCOUNTED],
    "codec_freedoom": ["experiment=codec_freedoom"],
    "flexformer_freedoom": ["experiment=flexformer_freedoom"],
    "lovic_freedoom": ["experiment=lovic_freedoom"],
    "vin_lovic_freedoom": ["experiment=vin_lovic_freedoom", UNCOUNTED],
}
SEGMENTS = [
    *("datamodule.num_frames=[117]", "datamodule.hop_frames=117", "datamodule.segments_per_row=3"),
    "datamodule.segment_frames=10",
]


def machine() -> str:
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} torch {torch.__version__.split('+')[0]}"


def check(name: str, result: torch.Tensor) -> None:
    result = result.detach().float().flatten().contiguous()
    directions = torch.randn(8, len(result), generator=torch.Generator().manual_seed(0))
    found = {
        "hash": hashlib.sha256(result.numpy().tobytes()).hexdigest()[:16],
        "dots": [round(float(dot), 6) for dot in directions @ result],
        "norm": round(float(result.norm()), 6),
        "machine": machine(),
    }
    kept = json.loads(FILE.read_text()) if FILE.is_file() else {}
    if os.environ.get("GOLDEN") == "write":
        FILE.write_text(json.dumps({**kept, name: found}, indent=1, sort_keys=True) + "\n")
        return
    expected = kept[name]
    assert found["dots"] == pytest.approx(expected["dots"], abs=TOLERANCE * expected["norm"])
    assert found["norm"] == pytest.approx(expected["norm"], rel=TOLERANCE)
    if os.environ.get("GOLDEN") == "exact" and expected["machine"] == machine():
        assert found["hash"] == expected["hash"]


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "rollout"), TAKES)
def test_a_take_is_the_same(weights, rollout, tmp_path):
    chosen = [] if rollout == "segmentwise" else [f"rollout={rollout}"]
    cfg = composed("generate", f"weights={ROOT / 'weights' / weights}", f"output={tmp_path}", *chosen, *SHORT)
    take = Take(requested(cfg))
    check(f"{weights} {rollout}", take.latents(cfg.prompt, cfg.seed, lambda *_: None))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Ten videos of a square on a gradient, 117 frames each, drawn from seeds."""
    folder = tmp_path_factory.mktemp("golden") / "videos"
    across = torch.linspace(-1, 1, 64)
    for number in range(10):
        draw = torch.Generator().manual_seed(number)
        colours = torch.rand(2, 3, generator=draw) * 2 - 1
        frames = (colours[0][:, None, None, None] * across[None, None, :, None]).expand(3, 117, 64, 64).clone()
        for f in range(117):
            x = int(22 + 20 * torch.sin(torch.tensor(f / 9.0 + number)))
            frames[:, f, 20:44, x : x + 20] = colours[1][:, None, None]
        write_video(folder / f"{number}.mp4", [frames], fps=8.75)
        (folder / f"{number}.txt").write_text(f"square number {number}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_first_losses_are_the_same(name, clips, tmp_path):
    import csv

    segments = SEGMENTS if name in ("flexformer_freedoom", "lovic_freedoom", "vin_lovic_freedoom") else []
    sampled = name not in ("codec_freedoom", "flexformer_freedoom")
    small = [each for each in SMALL if sampled or "samples" not in each]
    data = (f"datamodule.root={clips}", f"datamodule.cache_dir={clips.parent / 'cache'}")
    cfg = composed("train", f"paths.run_dir={tmp_path / 'run'}", *EXPERIMENTS[name], *segments, *small, *data)
    train(cfg)
    rows = list(csv.DictReader((tmp_path / "run" / "csv" / "metrics.csv").open()))
    losses = [float(row["train/loss"]) for row in rows if row.get("train/loss")]
    assert len(losses) == 3
    check(f"losses of {name}", torch.tensor(losses))
