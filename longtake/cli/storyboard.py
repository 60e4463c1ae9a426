"""`generate.py storyboard=FILE`: from a file and weights to one mp4, segment by segment."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from longtake.cli.processes import alone_in
from longtake.cli.request import Request
from longtake.cli.weights import Take
from longtake.cost.sampling import TEXT_TOKENS, VideoSize
from longtake.cost.segments import SegmentCost, segment_costs
from longtake.parallel import Mesh, spread_storyboard
from longtake.releases.disclosure import public_name, refuse_secrets
from longtake.samplers.interfaces import OnStep
from longtake.storyboard.continuation import write_continuation
from longtake.storyboard.describe import describe
from longtake.storyboard.given import GivenReader, ReadFrames, VideoProbe
from longtake.storyboard.maker import SegmentMaker
from longtake.storyboard.parse import read_storyboard
from longtake.storyboard.plan import plan
from longtake.storyboard.run import boundaries, cuts, make_storyboard, whole_take
from longtake.storyboard.schema import ModelLimits, Plan, PlanStep, Storyboard, StoryboardError
from longtake.storyboard.sizes import check_given_ratio
from longtake.storyboard.store import SegmentStore
from networks.control import NAME as CONTROL
from networks.files import remove_unfinished, whole

log = logging.getLogger("longtake")


def limits_of(take: Take, request: Request) -> ModelLimits:
    """What the loaded weights can do.

    Args:
        take: the loaded weights.
        request: names them and the storyboard, for messages.

    Returns:
        The limits that a storyboard has to keep.

    Raises:
        ValueError: if they have no memory, which every storyboard needs, or the rollout uses none.
    """
    memory = take.rollout.memory
    if not take.network.takes_segments:
        given, asked = request.given, f"storyboard={request.storyboard} needs"
        asked = asked if given is None else f"given={given}: going on needs"
        raise ValueError(
            f"{asked} weights with a memory, of network=lovic or vin_lovic, such as weights=weights/lovic_freedoom_64; "
            f"weights={request.weights} have none"
        )
    if memory is None or take.rollout.segment_frames is None:
        raise ValueError(
            f"storyboard={request.storyboard} is made segment by segment, which rollout={take.rollout.name} does not: "
            "use rollout=segmentwise"
        )
    side = take.codec.space_factor
    return ModelLimits(
        fingerprint=take.fingerprint(take.rollout.overlap_frames, memory.noise_level),
        max_latents=take.rollout.segment_frames,
        tokens_per_latent=(take.height // side) * (take.width // side) // take.network.patch**2,
        time_factor=take.codec.time_factor,
        memory=memory,
        overlap_frames=take.rollout.overlap_frames,
        control=take.network.backbone.control.columns if CONTROL in take.network.ablations else (),
    )


def make_storyboard_video(
    request: Request,
    write_video: Callable[..., None],
    read_frames: ReadFrames,
    mesh: Mesh | None = None,
    device: Any = None,
    *,
    take: Take | None = None,
) -> Path | None:
    """Writes output/000.mp4, its manifest and output/segments; with dry_run prints the plan and makes nothing.

    Args:
        request: what is to be made, of which weights.
        write_video: writes the file.
        read_frames: reads given videos.
        mesh: this process's place among several, that make each segment together; None: it is alone.
        device: device to sample on; None: a GPU if there is one.
        take: weights that are loaded already, those of the request.

    Returns:
        The file, None where nothing was to be made.

    Raises:
        ValueError: if the storyboard is wrong, before any work, naming its line.
    """
    mesh = mesh or Mesh()
    take = take or Take(request, device)
    limits = limits_of(take, request)
    file = Path(str(request.storyboard))
    if request.given is not None:
        mesh.world.agree(lambda: _write_continuation(file, request, limits))
    board, made = planned(request, take, limits)
    canvases = [len(step.canvas.frames) for step in made.steps if step.given is None]
    spread_storyboard(mesh, network=take.network, guidance=take.guidance, canvases=canvases or [1])
    silent = [segment.name for segment in board.segments if not segment.prompt]
    if silent:
        log.warning(f"{', '.join(silent)}: no prompt, so the null text is used")
    if limits.control and board.control is None:
        log.info(
            f"these weights take control ({', '.join(limits.control)}), and none is given: `control: FILE` in the "
            "storyboard gives it"
        )
    if request.dry_run:
        print_plan(take, made, limits, SegmentStore(request.output / "segments").has)
        return None
    with alone_in(request.output, mesh), Progress(disable=mesh.world.rank > 0) as progress:
        bar = progress.add_task("denoising steps", total=None)
        path = make_take(
            request, take, limits, made, write_video, read_frames, on_step=lambda *_: progress.advance(bar), mesh=mesh
        )
    log.info(f"{len(made.timeline)} segments in {path}")
    return path


def _write_continuation(file: Path, request: Request, limits: ModelLimits) -> None:
    write_continuation(
        file,
        str(request.given),
        request.prompt,
        num_frames=request.num_frames,
        seed=request.seed,
        limits=limits,
        control=request.control_file,
    )


def planned(request: Request, take: Take, limits: ModelLimits) -> tuple[Storyboard, Plan]:
    """The storyboard as it is read, and its plan; of given=… a line says how much of the video is kept and added.

    Args:
        request: names the storyboard.
        take: the loaded weights.
        limits: what the weights can do.

    Returns:
        Both.

    Raises:
        ValueError: if the storyboard is wrong; a line is named only of one that the user wrote.
    """
    try:
        board = read_storyboard(Path(str(request.storyboard)), limits)
        made = plan_board(board, take, limits, compression_ratio=request.changes.compression_ratio)
    except StoryboardError as error:
        if request.given is None:
            raise
        raise ValueError(error.reason) from error
    if request.given is not None:
        own = [step.num_frames for step in made.steps if step.given is None]
        kept, added = sum(step.num_frames for step in made.steps) - sum(own), sum(own)
        log.info(
            f"given={request.given}: its last {in_seconds(kept, take.fps)} begin the take, at {take.width} x "
            f"{take.height} pixels and {take.fps:g} frames a second, without sound"
        )
        log.info(f"{in_seconds(added, take.fps)} are added, in segments of {', '.join(map(str, dict.fromkeys(own)))}")
    return board, made


def in_seconds(num_frames: int, fps: float) -> str:
    """A length in words: 37 frames (4.2 s)."""
    return f"{num_frames} frames ({num_frames / fps:.1f} s)"


def plan_board(board: Storyboard, take: Take, limits: ModelLimits, *, compression_ratio: float | None) -> Plan:
    """The plan of a storyboard that was read.

    Args:
        board: as it was read.
        take: the loaded weights.
        limits: what the weights can do.
        compression_ratio: compression ratio of the command line.

    Returns:
        The plan.

    Raises:
        ValueError: if the storyboard is wrong, naming its line, or a prompt holds a secret.
    """
    prompts = {segment.name: segment.prompt for segment in board.segments}
    refuse_secrets(prompts, f"storyboard={board.file}")  # the manifest names them
    check_given_ratio(board, compression_ratio)
    return plan(board, limits, VideoProbe(take.fps))


def make_take(
    request: Request,
    take: Take,
    limits: ModelLimits,
    made: Plan,
    write_video: Callable[..., None],
    read_frames: ReadFrames,
    *,
    on_step: OnStep,
    on_segment: Callable[[PlanStep], None] | None = None,
    mesh: Mesh | None = None,
) -> Path:
    """Makes what is not in output/segments yet, and writes output/000.mp4 and its manifest.

    Args:
        request: names the output, the storyboard and the weights.
        take: the loaded weights.
        limits: what the weights can do.
        made: what to make.
        write_video: writes the file.
        read_frames: reads given videos.
        on_step: called after every denoising step.
        on_segment: called with each step of the plan as soon as its segment is there.
        mesh: this process's place among several, of which the first writes; None: it is alone.

    Returns:
        The file.
    """
    began = time.perf_counter()
    maker = SegmentMaker(
        module=take.module,
        guidance=take.guidance,
        text_encoder=take.text_encoder,
        size=size_of(take),
        noise_level=limits.memory.noise_level,
        on_step=on_step,
        without=take.pipeline.without,
        negative_prompt=take.pipeline.negative_prompt,
        running=take.running,
    )
    reader = GivenReader(take.codec, read_frames, take.height, take.width, take.fps, take.device)
    world = (mesh or Mesh()).world
    store = SegmentStore(request.output / "segments", world)
    latents = make_storyboard(made, store, maker, reader, on_segment)
    path = request.output / "000.mp4"
    if world.rank > 0:
        return path
    remove_unfinished(request.output)
    write_video(path, take.frames(whole_take(latents).to(take.device)), fps=take.fps)
    _write_manifest(request, take, made, path, time.perf_counter() - began)
    return path


def size_of(take: Take) -> tuple[int, int, int]:
    """Latent frames of a take, c h w."""
    side = take.codec.space_factor
    return take.codec.channels, take.height // side, take.width // side


def costs_of(take: Take, made: Plan) -> dict[str, SegmentCost]:
    """What one call of the network costs for each segment, by name."""
    video = VideoSize(0, *size_of(take), TEXT_TOKENS, take.text_encoder.features)
    counted = segment_costs(take.network, [step.canvas for step in made.steps], video, take.pipeline.without)
    return dict(zip((step.name for step in made.steps), counted, strict=True))


def print_plan(take: Take, made: Plan, limits: ModelLimits, is_there: Callable[[PlanStep], bool]) -> None:
    """The table of a dry run: tokens and FLOPs of each segment, and what memory holds at most."""
    network: Any = take.network
    if take.without == "memory" or network.compressor is None:
        forgets = (replace(step, sources=(), canvas=step.canvas._replace(remembered=())) for step in made.steps)
        made = made._replace(steps=tuple(forgets))
        log.info("nothing is compressed: a segment knows the frames that adjoin it and nothing further away")
    calls, costs = take.calls_per_canvas, costs_of(take, made)

    def flops(step: PlanStep, tokens: int, context: int) -> float:
        canvas = costs[step.name].canvas
        return calls * canvas.step.flops + canvas.memory.flops

    log.info(describe(made, tokens_per_latent=limits.tokens_per_latent, flops=flops, is_there=is_there))
    log.info("TFLOPs: all calls of the network and the compression of what is remembered, without codec and text")
    tokens = {step.name: step.latents * limits.tokens_per_latent for step in made.steps}
    said = {
        (source.name, source.compression_ratio): count
        for step in made.steps
        for source, count in zip(step.sources, costs[step.name].tokens, strict=True)
    }
    for (name, ratio), count in said.items():
        log.info(f"{name} at ratio {ratio:g}: {count} context tokens, effective ratio {tokens[name] / count:.2f}")
    weights = sum(each.numel() * each.element_size() for each in take.module.parameters()) / 2**20
    kept = max(cost.canvas.kept_bytes for cost in costs.values()) / 2**20
    log.info(
        f"memory, at least: weights {weights:.0f} MiB, keys and values of the longest context {kept:.1f} MiB; "
        "activations, codec, text encoder and libraries are not counted and come on top"
    )


def _write_manifest(request: Request, take: Take, made: Plan, path: Path, seconds: float) -> None:
    steps = {step.name: step for step in made.steps}
    line = {
        "file": path.name,
        "storyboard": public_name(str(request.storyboard)),
        "fps": take.fps,
        "num_frames": sum(step.num_frames for step in made.steps),
        "boundaries": boundaries(made),
        "cuts": cuts(made),
        "segments": [
            {
                "name": name,
                "task": steps[name].task,
                "prompt": steps[name].prompt,
                "seed": steps[name].seed,
                "num_frames": steps[name].num_frames,
                "remembers": {source.name: source.compression_ratio for source in steps[name].sources},
                "key": steps[name].key,
            }
            for name in made.timeline
        ],
        "weights": public_name(request.weights),
        "weights_hash": take.hash,
        "matmul_precision": take.matmul_precision,
        **take.running.changes,
        "seconds": round(seconds, 2),
    }
    with whole(request.output / "manifest.jsonl") as part:
        part.write_text(json.dumps(line) + "\n")
