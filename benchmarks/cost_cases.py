"""What the cost model is measured on: steps and whole videos, prepared to run, and their peak memory by themselves.

`python -m benchmarks.cost_cases cpu '[["dit_tiny", "vin", 257, ""]]'` prints the peak of each in MiB above weights.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from benchmarks import ROOT
from benchmarks.probes import Peak
from benchmarks.setups import SETUPS, compose_config, num_latents
from longtake.cost.sampling import VideoSize, sampling_cost
from longtake.cost.segments import segment_costs
from longtake.generation import generate
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, consecutive
from networks.interfaces import Condition, Context, SegmentBatch

STEPS, PASSES = 2, 1
"""Of sampling a whole video; the config's guidance of scale 1 takes one pass."""
SHORT = 49
"""Pixel frames of a video that is longer than a window of any rollout."""
OWN_MAPPINGS = {"MALLOC_MMAP_THRESHOLD_": "4096", "MKL_DISABLE_FAST_MM": "1"}
"""glibc: allocations from so many bytes on are mapped and unmapped one by one. MKL: buffers are freed at once."""
REMEMBERED = ((10, 8.0),) * 5
"""What LoViC's steps remember: segments of ten latent frames at rate 8."""


class Case(NamedTuple):
    """A network. overrides: of the training config; remembers: whether its steps have segments in memory."""

    overrides: tuple[str, ...]
    remembers: bool = False


CASES = {
    "vin": Case(("network=vin",)),
    "dit": Case(("network=dit",)),
    "lovic": Case(("network=lovic", "compressor=flexformer"), remembers=True),
    "hybrid": Case(("network=vin_lovic", "compressor=flexformer_qformer", "rollout.segment_frames=20"), remembers=True),
}


class Job(NamedTuple):
    """frames: of pixels, 4n + 1; rollout: how a whole video is made, "" for one step of a canvas."""

    preset: str
    case: str
    frames: int
    rollout: str


def config_of(job: Job) -> DictConfig:
    """The training config of a job."""
    setup, case = SETUPS[job.preset], CASES[job.case]
    rollout = f"rollout={job.rollout or ('segmentwise' if case.remembers else 'single_pass')}"
    own = setup.vin_only if job.case == "vin" else ()
    return compose_config((*case.overrides, rollout, f"sampler.num_inference_steps={STEPS}", *setup.shared, *own))


def predicted(job: Job) -> dict[str, float]:
    """FLOPs and bytes above the weights in float32; the network is built without them."""
    setup, cfg, latents = SETUPS[job.preset], config_of(job), num_latents(job.frames)
    with torch.device("meta"):
        network: nn.Module = instantiate(cfg.network).requires_grad_(False)
    size = (int(cfg.backbone.channels), setup.height, setup.width)
    video = VideoSize(latents, *size, setup.text_tokens, int(cfg.text.features))
    if job.rollout:
        rollout = instantiate(cfg.rollout)
        calls = STEPS * PASSES
        cost = sampling_cost(
            network, rollout, video, calls_per_canvas=calls, dtype=torch.float32, texts_per_canvas=PASSES
        )
        return {"flops": cost.network, "live": cost.activations}
    starts = range(-len(REMEMBERED) * REMEMBERED[0][0], 0, REMEMBERED[0][0]) if CASES[job.case].remembers else ()
    segments = tuple(RememberedSegment(start, *each) for start, each in zip(starts, REMEMBERED, strict=False))
    (found,) = segment_costs(network, [CanvasPlan(consecutive(0, latents), remembered=segments)], video)
    return {"flops": found.canvas.step.flops, "live": found.canvas.step.bytes}


def parameters_of(job: Job) -> int:
    """Of the network."""
    with torch.device("meta"):
        network: nn.Module = instantiate(config_of(job).network)
    return sum(parameter.numel() for parameter in network.parameters())


def prepare(job: Job, device: str) -> Callable[[], object]:
    """One step on noise, whose memory is made beforehand, or sampling a whole video; weights are fresh."""
    cfg, setup, latents = config_of(job), SETUPS[job.preset], num_latents(job.frames)
    module = instantiate(cfg.lightning_module).to(device).eval().requires_grad_(False)
    text = torch.randn(1, setup.text_tokens, int(cfg.text.features), device=device)
    index = torch.arange(latents, device=device, dtype=torch.float32).unsqueeze(0)
    condition = Condition(index, text, torch.ones(1, setup.text_tokens, dtype=torch.bool, device=device))
    shape = (1, int(cfg.backbone.channels), latents, setup.height, setup.width)
    if job.rollout:
        rollout, guidance = instantiate(cfg.rollout), instantiate(cfg.guidance)
        return lambda: generate(
            module, torch.randn(shape, device=device), condition, rollout=rollout, guidance=guidance
        )
    if CASES[job.case].remembers:
        with torch.no_grad():
            condition = module.network.encode_context(_with_segments(condition, shape))
    noisy, time = torch.randn(shape, device=device), torch.full((1, 1), 0.7, device=device)
    return torch.no_grad()(lambda: module.network(noisy, time, condition))


def _with_segments(condition: Condition, shape: tuple[int, ...]) -> Condition:
    """With finished segments before the canvas, one after another."""
    device, context = condition.text.device, []
    for place, (frames, rate) in enumerate(REMEMBERED):
        start = (place - len(REMEMBERED)) * frames
        segments = SegmentBatch(
            video=torch.randn(1, 1, shape[1], frames, *shape[3:], device=device),
            frame_index=(start + torch.arange(frames, device=device, dtype=torch.float32)).view(1, 1, -1),
            text=condition.text.unsqueeze(1),
            text_mask=condition.text_mask.unsqueeze(1),
            shot=torch.zeros(1, 1, dtype=torch.long, device=device),
            valid=torch.ones(1, 1, dtype=torch.bool, device=device),
        )
        context.append(Context(segments, torch.zeros(1, 1, device=device), rate))
    return condition._replace(context=tuple(context), shot=torch.zeros(1, dtype=torch.long, device=device))


def above(job: Job, device: str) -> float:
    """Peak in MiB above weights and inputs; something short before it loads what libraries load late.

    Where all that is freed is gone, that is the job itself; elsewhere its heap would be used again.
    """
    short = job._replace(frames=min(job.frames, SHORT)) if job.rollout else job._replace(frames=1)
    prepare(job if OWN_MAPPINGS.items() <= os.environ.items() else short, device)()
    run = prepare(job, device)
    peak = Peak(device)
    run()
    return peak.result()["above_mib"]


def in_process(jobs: Sequence[Job], device: str, environment: Mapping[str, str]) -> list[float]:
    """The peaks of jobs, one after another in a process with this environment."""
    command = [sys.executable, "-m", "benchmarks.cost_cases", device, json.dumps(jobs)]
    run = subprocess.run(command, cwd=ROOT, env=dict(environment), check=True, stdout=subprocess.PIPE, text=True)
    found: list[float] = json.loads(run.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps([above(Job(*job), sys.argv[1]) for job in json.loads(sys.argv[2])]) + "\n")
