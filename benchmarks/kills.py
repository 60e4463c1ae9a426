"""Kills programs at random and chosen moments, starts them again, and compares with what was never stopped.

    python benchmarks/kills.py                                        10 trainings and 20 generations, half an hour
    python benchmarks/kills.py --training 40 --generation 100 --caching 10 --export 10 --seed 1

A training is killed up to three times by SIGKILL, SIGTERM, SIGINT or SIGUSR1, gone on from with resume=last, and its
weights, their average and the optimizer are compared bit by bit; of a generation the bytes of every mp4, of a cache
those of every film and caption, of an export those of every file. Exit codes
have to be 143 (SIGTERM, SIGUSR1) and 130 (SIGINT). Everything is small and made in a folder that is removed at the end;
every second training has its folder of temporary files on another disk. Exits with 1 if anything differs or is lost.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.killing import FORKS, SIGNALS, Started, after, appears, killed_at, wrong_exit
from longtake.video import write_video

TRAINING = (
    *("text=null_text", "network=vin_plan", "backbone.width=32", "backbone.depth=1", "backbone.num_heads=2"),
    *("interface.num_tokens=4", "interface.depth=1", "network.chunk_frames=2", "network.train_local_frames=1"),
    *("network.local_frames=1", "datamodule=folder", "datamodule.height=32", "datamodule.width=32"),
    *("datamodule.num_frames=[5,9]", "datamodule.hop_frames=4", "datamodule.num_validation_clips=2"),
    *("datamodule.validation_share=0.3", "global_batch_size=4", "clips_per_device=2", "trainer.max_steps=24"),
    *("trainer.val_check_interval=6", "trainer.log_every_n_steps=1", "lightning_module.validation_times=[0.5]"),
    *("callbacks.samples.num_frames=9", "callbacks.samples.num_videos=1", "sampler.num_inference_steps=2"),
    *("callbacks.checkpoint.every_minutes=0.01", "matmul_precision=highest", "~callbacks.progress", "logger=csv"),
)
FEW = ("num_inference_steps=2", "seed=3")
LOVIC = "weights=weights/lovic_freedoom_64"
GENERATION = {
    "four videos": ("num_frames=37", "prompt=[a cave,a garden,a hall,a pool]", *FEW),
    "autoregressive": ("num_frames=77", "prompt=a cave", "rollout=autoregressive", *FEW),
    "segmentwise": (LOVIC, "num_frames=129", "prompt=a cave", "rollout=segmentwise", *FEW),
    "storyboard": (LOVIC, "storyboard=storyboards/between.yaml", "num_inference_steps=2"),
}
CHOSEN_TRAINING = {
    "a film half written": ("data/cache/*/*.tar",),
    "checkpoint half written": ("runs/*/checkpoints/*.part",),
    "step_N there, last not": ("runs/*/checkpoints/step_*.ckpt",),
    "last.ckpt there": ("runs/*/checkpoints/last.ckpt",),
    "in validation": ("runs/*/samples/*",),
}
"""Moments of a training: when a file of these patterns appears."""
CHOSEN_MOMENTS = {
    "a file half written": ("**/*.part",),
    "a video there": ("*.mp4",),
    "a film, window, segment or weights there": ("**/*.safetensors", "cache/*/*.tar"),
    "a caption there": ("cache/text_*/*.tar",),
}
"""Moments of the others; one that does not come leaves the program to its end."""


class Case(NamedTuple):
    """One kill: the signal, when it came, and what was seen of it."""

    number: int
    kind: str
    moments: list[str]
    faults: list[str]


def moment(rng: random.Random, chosen: Mapping[str, tuple[str, ...]], folder: Path, seconds: float) -> Any:
    """A moment's name, and the test for it: every second one is chosen, the others are random."""
    if rng.random() < 0.5:
        name = rng.choice(sorted(chosen))
        return name, appears(folder, chosen[name])
    at = rng.uniform(0, seconds)
    return f"after {at:.1f} s", after(at)


def train_to_the_end(videos: Path, folder: Path, attempt: int, scratch: Path) -> Started:
    """Starts or goes on with the training in a folder."""
    own = [f"datamodule.root={videos}", f"paths.run_dir={folder}/runs/{attempt}"]
    goes_on = any(folder.glob("runs/*/checkpoints/*.ckpt"))
    return Started(
        "train.py",
        [*TRAINING, *own, *(["resume=last"] if goes_on else [])],
        LONGTAKE_DATA=f"{folder}/data",
        TMPDIR=str(scratch),
    )


def newest(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of the newest last.ckpt in a folder of runs: weights, average and optimizer, with their names."""
    last = max(folder.glob("runs/*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    checkpoint = torch.load(last, map_location="cpu", weights_only=True)
    kept = {"step": torch.tensor(checkpoint["global_step"])}
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
        kept |= dict(flat(checkpoint[key], key))
    return kept


def flat(node: Any, name: str) -> list[tuple[str, torch.Tensor]]:
    """Tensors and numbers at any depth."""
    if isinstance(node, torch.Tensor):
        return [(name, node)]
    if isinstance(node, int | float):
        return [(name, torch.tensor(float(node), dtype=torch.float64))]
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list | tuple) else ()
    return [pair for key, value in pairs for pair in flat(value, f"{name}.{key}")]


def differences(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names of what is not bit by bit the same."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    )


def training_case(number: int, rng: random.Random, setup: "Setup") -> Case:
    """One training, killed one to three times, gone on from to its end, and compared."""
    folder = setup.folder / f"training_{number}"
    scratch = Path(tempfile.mkdtemp(dir="/dev/shm" if number % 2 and Path("/dev/shm").is_dir() else setup.folder))
    moments, faults = [], []
    for attempt in range(rng.randint(1, 3)):
        sign = rng.choice(SIGNALS)
        process = train_to_the_end(setup.videos, folder, attempt, scratch)
        name, is_time = moment(rng, CHOSEN_TRAINING, folder, setup.training_seconds)
        killed_at(process, sign, is_time)
        code, said = process.ended()
        moments.append(f"{signal.Signals(sign).name} {name}{'' if code else ' (done before)'}")
        if fault := wrong_exit(sign, code, said):
            faults.append(fault)
    code, said = train_to_the_end(setup.videos, folder, 9, scratch).ended()
    if code:
        faults.append(f"going on: exit {code}, {said.strip().splitlines()[-1:]}")
    else:
        faults += [f"differs: {name}" for name in differences(setup.reference, newest(folder))[:3]]
    left = [*folder.glob("runs/*/checkpoints/*.part"), *folder.glob("data/**/*.part"), *scratch.glob("tmp*")]
    faults += [f"left: {path.name}" for path in left[:3]]
    shutil.rmtree(folder)
    shutil.rmtree(scratch)
    return Case(number, "training", moments, faults)


def begun(kind: str, output: Path, videos: Path) -> Started:
    """Starts or goes on with a generation, an export or a caching, into a folder."""
    if kind == "caching":
        data = [each for each in TRAINING if each.startswith(("text", "datamodule"))]
        return Started("longtake/__main__.py", ["cache", *data, f"datamodule.root={videos}"], LONGTAKE_DATA=str(output))
    if kind == "export":
        return Started("export.py", ["run=weights/vin_freedoom_64", f"output={output}"])
    return Started("generate.py", [*GENERATION[kind], f"output={output}"])


def made_in(folder: Path) -> dict[str, str]:
    """A hash of every video, file of a release, and member of a cache in a folder, whatever shard it lies in."""
    files = [*folder.glob("*.mp4"), *folder.glob("config.yaml"), *folder.glob("network/*")]
    found = {path.name: path.read_bytes() for path in files}
    for index in folder.glob("cache/*/*.jsonl"):
        for line in map(json.loads, index.read_text().splitlines()):
            if "at" in line:
                with index.with_suffix(".tar").open("rb") as shard:
                    shard.seek(line["at"])
                    found[f"{index.parent.name}/{line['key']}"] = shard.read(line["bytes"])
    return {name: hashlib.sha256(data).hexdigest()[:16] for name, data in sorted(found.items())}


def other_case(number: int, kind: str, rng: random.Random, setup: "Setup") -> Case:
    """One generation, export or caching, killed one to three times, called again to its end, and compared."""
    if kind not in setup.made:
        output = setup.folder / f"whole_{kind.split()[0]}"
        output.mkdir()
        since = time.monotonic()
        code, said = begun(kind, output, setup.videos).ended()
        if code or not made_in(output):
            return Case(number, kind, [], [f"without a kill: exit {code}, {said}"])
        setup.made[kind] = (made_in(output), time.monotonic() - since)
    reference, seconds = setup.made[kind]
    output = setup.folder / f"other_{number}"
    output.mkdir()
    moments, faults = [], []
    for _ in range(rng.randint(1, 3)):
        sign = rng.choice(SIGNALS)
        process = begun(kind, output, setup.videos)
        name, is_time = moment(rng, CHOSEN_MOMENTS, output, seconds)
        killed_at(process, sign, is_time)
        code, said = process.ended()
        moments.append(f"{signal.Signals(sign).name} {name}{'' if code else ' (done before)'}")
        if fault := wrong_exit(sign, code, said):
            faults.append(fault)
    code, said = begun(kind, output, setup.videos).ended()
    made = made_in(output)
    if code:
        faults.append(f"going on: exit {code}, {said.strip().splitlines()[-1:]}")
    elif made != reference:
        faults.append(f"differs: {sorted(set(made.items()) ^ set(reference.items()))[:2]}")
    faults += [f"left: {path.name}" for path in output.rglob("*.part*")][:3]
    shutil.rmtree(output)
    return Case(number, kind, moments, faults)


class Setup:
    """What the cases share: videos, and what an uninterrupted call makes."""

    def __init__(self, folder: Path, *, train: bool) -> None:
        """train: whether a training is wanted to compare with."""
        self.folder, self.videos = folder, folder / "videos"
        self.made: dict[str, tuple[dict[str, str], float]] = {}
        self.reference: dict[str, torch.Tensor] = {}
        self.training_seconds = 0.0
        for number in range(6):
            frames = -torch.ones(3, 25, 32, 32)
            for f in range(25):
                frames[number % 3, f, 8:20, (f + 3 * number) % 20 : (f + 3 * number) % 20 + 8] = 1
            write_video(self.videos / f"{number}.mp4", [frames], fps=8.75)
            (self.videos / f"{number}.txt").write_text(f"square number {number}")
        loaded = FORKS.Process(target=int)
        loaded.start()
        loaded.join()
        if not train:
            return
        since = time.monotonic()
        code, said = train_to_the_end(self.videos, folder / "whole", 0, folder).ended()
        if code:
            raise SystemExit(f"the training does not run without a kill either: {said}")
        self.training_seconds = time.monotonic() - since
        self.reference = newest(folder / "whole")


def main() -> int:
    """Runs all cases and prints a table of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", type=int, default=10, help="trainings that are killed")
    parser.add_argument("--generation", type=int, default=20, help="generations that are killed")
    parser.add_argument("--caching", type=int, default=5, help="cachings of clips and captions that are killed")
    parser.add_argument("--export", type=int, default=5, help="exports that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of signals and moments")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    kinds = ["training"] * args.training + [sorted(GENERATION)[n % len(GENERATION)] for n in range(args.generation)]
    kinds += ["caching"] * args.caching + ["export"] * args.export
    rng, cases = random.Random(args.seed), []
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        setup = Setup(Path(folder), train=args.training > 0)
        for number, kind in enumerate(kinds):
            done = training_case(number, rng, setup) if kind == "training" else other_case(number, kind, rng, setup)
            cases.append(done)
            print(f"{done.kind:15} {done.number:3}  {'; '.join(done.moments)}  {done.faults or 'the same'}", flush=True)
    faulty = [case for case in cases if case.faults]
    print(f"\n{'':15} killed  kills  differ or lost")
    for kind in dict.fromkeys(case.kind for case in cases):
        mine = [case for case in cases if case.kind == kind]
        kills = sum("done before" not in name for case in mine for name in case.moments)
        print(f"{kind:15} {len(mine):6}  {kills:5}  {sum(bool(case.faults) for case in mine):14}")
    return 1 if faulty else 0


if __name__ == "__main__":
    sys.exit(main())
