"""Three whole uses, as they are typed: host memory and CPU seconds, predicted by the cost model and measured.

    OMP_NUM_THREADS=1 python benchmarks/uses.py                 all three: a quarter of an hour on one idle core
    OMP_NUM_THREADS=1 python benchmarks/uses.py --only video    one of them; the others stay as they were
    OMP_NUM_THREADS=1 python benchmarks/uses.py --only training --steps 165    a part of the default training

Each command runs in a process of its own, whose CPU seconds and largest resident size the system counts: both say more
on a busy machine than the clock on the wall. Seconds are predicted from the FLOPs of `evaluate.py cost=true` and the
FLOP/s of a step of the small VIN at 257 frames, forward, in CPU seconds. Host memory is predicted as what the programs
hold before they make anything (the same program on its shortest video, less what the cost model says of that) and the
tensors of the cost model. What a GPU would hold is predicted alone. Writes benchmarks/results/uses.json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
OUTPUT = ROOT / "benchmarks" / "results" / "uses.json"
GIB = 2**30
REFERENCE = 257
"""Pixel frames of the step whose FLOP/s the predictions take."""
SHORTEST = 37
"""Pixel frames of one window of the shipped weights."""
PASSES, STEPS = 2, 30
"""Of guidance, and of the sampler: what the shipped weights are sampled with."""
STATE_BYTES = 20
"""Of each parameter in training: weight, gradient, Adam's two moments and the average, in float32."""
LOVIC = "weights=weights/lovic_freedoom_64"
USES = {
    "video": {
        "command": ["generate.py", "num_frames=257", "prompt=A marine in red walks"],
        "cost": ["weights=weights/vin_freedoom_64", "num_frames=257"],
        "rollout": "single_pass",
        "precision": "highest",
    },
    "continuation": {
        "command": [
            "generate.py",
            LOVIC,
            "given=storyboards/walk.mp4",
            "num_frames=1025",
            "prompt=A grey marine walks",
        ],
        "cost": [LOVIC, "num_frames=1025"],
        "rollout": "segmentwise",
        "precision": "highest",
    },
    "training": {
        "command": ["train.py"],
        "cost": ["network=vin"],
        "rollout": "",
        "precision": "high",
    },
}
"""Each as it is typed but for its output; what `evaluate.py cost=true` is told of it; and its matmul_precision."""
LENGTHS, CLIPS, TRAINING_STEPS = (37, 77, 157), 8, 300
"""Of the default training: the clips' pixel frames, one length a batch in equal parts; clips of a batch; its steps."""
VALIDATION_EVERY, VALIDATION_CLIPS, VALIDATION_CALLS = 150, 16, 12
"""Steps between its validations, clips of the longest length in each, and calls of the network a clip: six times,
with and without global tokens."""
Record = dict[str, Any]


def measured(command: list[str], root: Path = ROOT) -> dict[str, float]:
    """CPU seconds, seconds by the clock, and the largest resident size of one process, in GiB.

    This process must be small: what it occupies counts as the least that the other one has occupied.
    """
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=root)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {process.returncode}")
    return {
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "seconds": time.perf_counter() - began,
        "resident_gib": used.ru_maxrss / 2**20,
    }


def typed(name: str, folder: str, steps: int) -> list[str]:
    """The command with an output of its own; of a training, its run's folder, and its steps where they are fewer."""
    command = list(USES[name]["command"])
    if name != "training":
        return [*command, f"output={folder}"]
    return [*command, f"paths.run_dir={folder}", *([f"trainer.max_steps={steps}"] if steps < TRAINING_STEPS else [])]


def cost(*told: str) -> Record:
    """What `evaluate.py cost=true` says; its seconds are not used."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["measure_speed=false", "training_devices=[]", f"guidance_passes={PASSES}"]
        command = ["evaluate.py", "cost=true", *told, *settings, f"num_inference_steps={STEPS}", f"output={folder}"]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        found: Record = json.loads((Path(folder) / "cost.json").read_text())
    return found


def flop_rates() -> dict[str, float]:
    """FLOP a CPU second of a step of the small VIN, by matmul_precision; in a process of its own."""
    code = "from benchmarks.uses import print_rates; print_rates()"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    rates: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return rates


def print_rates() -> None:
    """See `flop_rates`."""
    from longtake.process import set_matmul_precision, settle

    settle()  # before torch loads; see docs/troubleshooting.md
    from benchmarks.clock import in_turns
    from benchmarks.cost_cases import Job, prepare
    from longtake.compat.torch import flop_counter

    rates = {}
    for precision in ("highest", "high"):
        set_matmul_precision(precision)
        run = prepare(Job("dit_tiny", "vin", REFERENCE, ""), "cpu")
        with flop_counter() as counter:
            run()
        turns = in_turns({"step": run}, repeats=5, most=9, device="cpu")["step"]
        rates[precision] = counter.get_total_flops() / statistics.median(turn.cpu for turn in turns)
    sys.stdout.write(json.dumps(rates) + "\n")


def of_sampling(name: str, rate: float) -> Record:
    """FLOPs, seconds and tensors of a use that samples."""
    found = cost(*USES[name]["cost"])
    row = next(each for each in found["rollouts"] if each["rollout"] == USES[name]["rollout"])
    codec = found["codec_weight_bytes"] or 0
    return {
        "flops": row["video_flops"],
        "cpu_seconds": row["video_flops"] / rate,
        "tensors_gib": row["peak_bytes"] / GIB,
        "gpu_gib": (max(row["peak_bytes"], found["decode_bytes"] + found["weight_bytes"]) + codec) / GIB,
    }


def of_training(rate: float, steps: int) -> Record:
    """FLOPs, seconds and tensors of steps and validations of the default training, without its sample videos."""
    found = {length: cost(*USES["training"]["cost"], f"num_frames={length}") for length in LENGTHS}
    trained = steps * CLIPS * statistics.mean(each["training"]["step_flops"] for each in found.values())
    forward = found[LENGTHS[-1]]["training"]["step_flops"] / 3  # a step's backward pass is two products for one
    flops = trained + steps // VALIDATION_EVERY * VALIDATION_CLIPS * VALIDATION_CALLS * forward
    longest = found[LENGTHS[-1]]
    tensors = CLIPS * longest["training"]["activation_bytes"] + STATE_BYTES * longest["parameters"]
    codec = longest["codec_weight_bytes"] or 0
    return {
        "flops": flops,
        "cpu_seconds": flops / rate,
        "tensors_gib": tensors / GIB,
        "gpu_gib": (tensors + codec) / GIB,
    }


def libraries_gib() -> float:
    """What a program holds beside the tensors of its network: libraries, text encoder and codec."""
    with tempfile.TemporaryDirectory() as folder:
        shortest = [f"num_frames={SHORTEST}", "num_inference_steps=2"]
        held = measured(["generate.py", *shortest, "prompt=A cave", f"output={folder}"])["resident_gib"]
    (row,) = [each for each in cost("weights=weights/vin_freedoom_64", shortest[0])["rollouts"]
              if each["rollout"] == "single_pass"]  # fmt: skip
    return held - row["peak_bytes"] / GIB


def main() -> None:
    """Measures first, while this process is small, and keeps what was measured before of the other uses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(USES), default=list(USES))
    parser.add_argument("--steps", type=int, default=TRAINING_STEPS, help="of the training")
    parser.add_argument("--predict", action="store_true", help="keep all measurements, and predict anew")
    options = parser.parse_args()
    found: Record = json.loads(OUTPUT.read_text()) if OUTPUT.is_file() else {"uses": {}}
    for name in [] if options.predict else options.only:
        if name == "training":  # what is rendered and encoded once is no part of it
            subprocess.run([sys.executable, "-m", "longtake", "cache"], cwd=ROOT, check=True)
        with tempfile.TemporaryDirectory() as folder:
            now = measured(typed(name, folder, options.steps))
        if name == "training":
            now["steps"] = options.steps
        found["uses"].setdefault(name, {})["measured"] = now
        found["uses"][name]["typed"] = " ".join(["python", *USES[name]["command"]])
        write(found)
    rates, libraries = flop_rates(), libraries_gib()
    for name in [each for each in USES if each in found["uses"]]:
        rate = rates[str(USES[name]["precision"])]
        steps = int(found["uses"][name]["measured"].get("steps", 0))
        predicted = of_training(rate, steps) if name == "training" else of_sampling(name, rate)
        predicted["resident_gib"] = predicted["tensors_gib"] + libraries
        found["uses"][name]["predicted"] = predicted
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    found |= {"gflops_a_cpu_second": {key: rate / 1e9 for key, rate in rates.items()}, "libraries_gib": libraries}
    found |= {"threads": threads, "command": "OMP_NUM_THREADS=1 python benchmarks/uses.py"}
    write(found)


def write(found: Record) -> None:
    """Writes the file whole."""
    OUTPUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
