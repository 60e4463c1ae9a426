"""A pretrained base at its real size on a CPU, from training to diffusers, with random weights and a small picture.

    python benchmarks/at_size.py                    Wan 2.1 1.3B, some ten minutes of two cores, 9 GB of disk
    python benchmarks/at_size.py --size tiny        the same program on a model of 60 thousand weights
    python benchmarks/at_size.py --change backbone.dtype=nf4 optimizer=adamw_8bit

Writes a folder of the real format: transformer and autoencoder of the real sizes, the former in pieces of bfloat16;
a text encoder of the real width and one layer, as the real one has 5.7 billion weights. Trains VIN upon it for two
steps with validation and a sample, exports a release, the adapters and the merged pipeline, makes a video of the
release, and loads what was exported in diffusers. Each step is a process of its own, whose time and peak of resident
memory (which counts pages of mapped files) are printed and written to benchmarks/results/at_size.json. No download.
"""

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from longtake.process import peak_resident_gib, settle

settle()  # before torch loads; see docs/troubleshooting.md

import torch

from benchmarks import ROOT
from networks.files import whole

RESULTS = ROOT / "benchmarks" / "results"
WORDS = ("a", "green", "marine", "walks", "through", "dark", "hall", "red", "door", "blurred")
HEIGHT, WIDTH, FRAMES = 32, 48, 37
"""Pixels and frames of the clips: 10 latents, two chunks of vin_wan."""
LEAST_STEPS = 2
HUB = "someone/random-wan"
"""What the release calls its base; nothing is asked of the hub."""


class Size(NamedTuple):
    """Sizes of the models that are written, and what a training changes of experiment=vin_wan.

    transformer, text, vae: arguments of diffusers' and transformers' classes. changes: settings of train.py.
    """

    transformer: Mapping[str, Any]
    text: Mapping[str, Any]
    vae: Mapping[str, Any]
    changes: tuple[str, ...] = ()


SIZES = {
    "wan_1_3b": Size(
        {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30},
        {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 1, "num_heads": 64},
        {},
        ("interface.num_tokens=64",),  # of 512, to which most of the time would go; they are 0.5 of 152 M weights
    ),
    "tiny": Size(
        {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "text_dim": 16,
            "freq_dim": 16,
            "ffn_dim": 48,
            "num_layers": 2,
        },
        {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
        {"base_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1},
        (
            "backbone.width=32",
            "backbone.num_heads=2",
            "backbone.lora_rank=4",
            "text.features=16",
            "interface.num_tokens=4",
            "interface.width=32",
            "interface.num_heads=2",
        ),
    ),
}
"""Source of Wan's: diffusers' scripts/convert_wan_to_diffusers.py; its defaults are those of its classes."""


def write_base(size: Size, folder: Path) -> dict[str, float]:
    """A pipeline's folder of random weights; says how many the transformer has."""
    from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
    from transformers import T5Tokenizer, UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -10.0), *((f"\u2581{word}", -2.0) for word in WORDS)]
    torch.set_default_dtype(torch.bfloat16)  # made as it is kept: float32 first would be twice the memory
    transformer = WanTransformer3DModel(**size.transformer)
    text = UMT5EncoderModel(UMT5Config(**size.text, vocab_size=len(vocabulary), pad_token_id=0, eos_token_id=1))
    torch.set_default_dtype(torch.float32)
    pipeline = WanPipeline(
        tokenizer=T5Tokenizer(vocab=vocabulary, extra_ids=0),
        text_encoder=text,
        transformer=transformer,
        vae=AutoencoderKLWan(**size.vae),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
    )
    pipeline.save_pretrained(folder, max_shard_size="1GB")
    return {"parameters": float(sum(x.numel() for x in transformer.parameters()))}


def write_videos(folder: Path) -> dict[str, float]:
    """Three videos of a square that wanders, with captions."""
    from longtake.video import write_video

    for number in range(3):
        video = torch.full((3, FRAMES + 8, HEIGHT, WIDTH), -0.5)
        for frame in range(video.shape[1]):
            video[number, frame, 8:24, frame % WIDTH : frame % WIDTH + 12] = 0.8
        write_video(folder / f"{number}.mp4", [video], fps=16)
        (folder / f"{number}.txt").write_text(" ".join(WORDS[number : number + 5]))
    return {}


def program(name: str, *arguments: str) -> Callable[[], dict[str, float]]:
    """A program of the command line, as a step."""

    def run() -> dict[str, float]:
        sys.argv = [f"{name}.py", *arguments]
        import_module(f"longtake.cli.{name}").main()
        return {}

    return run


def open_in_diffusers(base: Path, adapters: Path, merged: Path) -> dict[str, float]:
    """The adapters upon the base, and the merged pipeline, by diffusers alone: what each makes of one noise.

    Says how far the two lie apart, and how far the adapters have moved the base, relative to its own video.
    """
    from diffusers import WanPipeline

    noise = torch.randn(1, 16, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(3))
    asked = {"height": HEIGHT, "width": WIDTH, "num_frames": 9, "num_inference_steps": LEAST_STEPS}

    def made(folder: Path, lora: Path | None = None) -> torch.Tensor:
        pipeline = WanPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
        if lora is not None:
            pipeline.load_lora_weights(str(lora), weight_name="pytorch_lora_weights.safetensors")
        pipeline.set_progress_bar_config(disable=True)
        latents = pipeline("a green marine walks", latents=noise.clone(), output_type="latent", **asked).frames
        return latents.float()

    plain, adapted, fused = made(base), made(base, adapters), made(merged)
    assert bool(fused.isfinite().all())
    return {
        "merged_from_adapters": float((fused - adapted).norm() / plain.norm()),
        "adapters_from_base": float((adapted - plain).norm() / plain.norm()),
    }


def steps_of(size: Size, folder: Path, changes: Sequence[str]) -> dict[str, Callable[[], dict[str, float]]]:
    """The whole chain, step by step, in a folder; changes: settings of train.py."""
    base, videos, run = folder / "base", folder / "videos", folder / "run"
    training = (
        "experiment=vin_wan",
        "trainer=cpu",
        f"datamodule.root={videos}",
        f"datamodule.cache_dir={folder}/cache",
        f"datamodule.height={HEIGHT}",
        f"datamodule.width={WIDTH}",
        f"datamodule.num_frames=[{FRAMES}]",
        "datamodule.num_validation_clips=1",
        "datamodule.validation_share=0.34",
        f"backbone.pretrained={base}",
        "global_batch_size=1",
        f"trainer.max_steps={LEAST_STEPS}",
        f"trainer.val_check_interval={LEAST_STEPS}",
        "trainer.log_every_n_steps=1",
        "lightning_module.validation_times=[0.9]",
        f"callbacks.samples.num_frames={FRAMES}",
        "callbacks.samples.num_videos=1",
        f"sampler.num_inference_steps={LEAST_STEPS}",
        "~callbacks.progress",
        "logger=csv",
        f"paths.run_dir={run}",
        *size.changes,
        *changes,
    )

    def exported(form: str, *more: str) -> Callable[[], dict[str, float]]:
        return program("export", f"run={run}", f"output={folder / form}", f"format={form}", *more)

    # a release names its base as others find it, and whoever generates says where that lies
    named, there = ([f"{part}.pretrained={x}" for part in ("backbone", "codec", "text")] for x in (HUB, base))
    generation = (
        *there,
        f"weights={folder / 'release'}",
        f"output={folder / 'made'}",
        f"num_frames={FRAMES}",
        f"num_inference_steps={LEAST_STEPS}",
        "prompt=a green marine walks",
        "negative_prompt=",
    )
    return {
        "write the base": lambda: write_base(size, base),
        "write videos": lambda: write_videos(videos),
        "train": program("train", *training),
        "export a release": exported("release", "dtype=bfloat16", *named),
        "export adapters": exported("lora", "dtype=bfloat16"),
        "export merged": exported("merged"),
        "generate": program("generate", *generation),
        "diffusers": lambda: open_in_diffusers(base, folder / "lora", folder / "merged"),
    }


def in_own_process(step: Callable[[], dict[str, float]], log: Path) -> dict[str, float]:
    """What a step says, its seconds, CPU seconds and peak of memory in GiB; what it prints goes to a log.

    Raises:
        RuntimeError: if the step failed.
    """
    context = multiprocessing.get_context("fork")  # what is imported already is shared
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        sys.stdout = sys.stderr = log.open("w", buffering=1)
        began, cpu = time.perf_counter(), time.process_time()
        said = step()
        spent = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu}
        sender.send({**said, **spent, "peak_gib": peak_resident_gib()})

    process = context.Process(target=run)
    process.start()
    sender.close()
    try:
        found: dict[str, float] = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the step failed:\n{log.read_text()[-3000:]}") from None
    process.join()
    return found


def bytes_of(folder: Path) -> int:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def run_chain(
    name: str, folder: Path, say: Callable[[str, dict[str, Any]], object], changes: Sequence[str] = ()
) -> dict[str, Any]:
    """Every step, and what lies on the disk afterwards.

    Args:
        name: of a size.
        folder: an empty one, with room.
        say: called after each step with a line, and with all figures so far.
        changes: settings of train.py.

    Returns:
        The record.
    """
    steps: dict[str, dict[str, float]] = {}
    for place, step in steps_of(SIZES[name], folder, changes).items():
        found = in_own_process(step, folder / f"{len(steps)}.log")
        steps[place] = {key: float(f"{value:.4g}") for key, value in found.items()}
        spent = f"{found['seconds']:8.0f} s {found['cpu_seconds']:8.0f} CPU s {found['peak_gib']:7.2f} GiB"
        say(f"{place:20s}{spent}\n", {"size": name, "changes": [*changes], "steps": steps})
    disk = {
        "base": bytes_of(folder / "base" / "transformer"),
        "checkpoint": (folder / "run" / "checkpoints" / "last.ckpt").stat().st_size,
        "release": bytes_of(folder / "release"),
        "adapters": bytes_of(folder / "lora"),
        "merged": bytes_of(folder / "merged" / "transformer"),
    }
    peak = max(step["peak_gib"] for step in steps.values())
    threads = torch.get_num_threads()
    return {
        "size": name,
        "changes": [*changes],
        "threads": threads,
        "peak_gib": peak,
        "bytes_on_disk": disk,
        "steps": steps,
    }


def main() -> None:
    """Runs the chain, prints and writes its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=list(SIZES), default="wan_1_3b")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of at_size.json")
    parser.add_argument("--scratch", type=Path, help="where the models are written; some 10 GB, removed at the end")
    parser.add_argument("--change", nargs="*", default=[], help="settings of train.py, such as backbone.dtype=nf4")
    asked = parser.parse_args()
    asked.output.mkdir(parents=True, exist_ok=True)

    def say(line: str, so_far: dict[str, Any]) -> None:
        sys.stdout.write(line)
        sys.stdout.flush()
        with whole(asked.output / "at_size.json") as part:
            part.write_text(json.dumps(so_far, indent=1) + "\n")

    with tempfile.TemporaryDirectory(dir=asked.scratch, prefix="at-size-") as folder:
        record = run_chain(asked.size, Path(folder), say, asked.change)
    for what, size in record["bytes_on_disk"].items():
        say(f"{what:20s} {size / 1e6:10,.1f} MB on disk\n", record)


if __name__ == "__main__":
    main()
