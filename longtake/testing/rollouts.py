"""What every rollout must do. Axes: b batch, c channels, f frames, h height, w width (latents)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from longtake.generation import generate
from longtake.objectives import FlowPrediction, LinearPath, NoWeight, Objective, Uniform
from longtake.rollouts.interfaces import Canvas, Given, Wrap, unwrapped
from longtake.rollouts.plan import CanvasPlan, RememberedSegment, check_plan, chunk_boundaries
from longtake.rollouts.rollout import Rollout
from longtake.samplers import ClassifierFreeGuidance, Euler
from longtake.testing.inputs import battery, built, close, example, fail, furthest, randomize_, require
from networks.dit import VideoDiT
from networks.flexformer import FlexFormer
from networks.interfaces import Condition
from networks.lovic import LoViCNetwork

CHANNELS, TEXT, WIDTH = 4, 6, 32


@battery
def check_rollout(make: Callable[[], Rollout], *, frames: Sequence[int] = (1, 2, 5, 9, 14)) -> None:
    """Runs a rollout of `longtake.rollouts.rollout.Rollout` through every rule, with tiny untrained networks.

    Args:
        make: builds the rollout anew.
        frames: latent frames of the videos to try: some shorter than a window, some of several.

    Raises:
        AssertionError: for the first rule that is broken, in one sentence.
    """
    rollout = built(make, Rollout)
    require(isinstance(rollout, Rollout), f"{type(rollout).__name__} must be a Rollout: cost and manifests read `plan`")
    for count in frames:
        _plans_every_frame_once(rollout, count)
        _carries_out_its_plan(rollout, count)
    module = sampling_module(rollout)
    for count in frames:
        _makes_a_video(module, rollout, make(), count)


def sampling_module(rollout: Rollout, *, steps: int = 2) -> nn.Module:
    """What a rollout samples with: a tiny network, with a memory if the rollout remembers, objective and sampler."""
    backbone = VideoDiT(
        channels=CHANNELS,
        width=WIDTH,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
        text_features=TEXT,
        latent_fps=2.0,
        rope_theta=100.0,
        checkpoint_activations=False,
    )
    network: nn.Module = backbone
    if rollout.memory is not None:
        compressor = FlexFormer(
            channels=CHANNELS,
            width=WIDTH,
            encoder_depth=1,
            decoder_depth=0,
            num_heads=2,
            text_features=TEXT,
            block="joint",
            strategy="uniform",
            rule="centre",
            qk_gain=2.0,
            rope_theta=100.0,
        )
        network = LoViCNetwork(window=backbone, compressor=compressor, shot_gap=4.0, low_resolution=False)
    module = nn.Module()
    module.network = randomize_(network).eval()
    module.sampler = Euler(num_inference_steps=steps)  # type: ignore[assignment]
    module.objective = Objective(  # type: ignore[assignment]
        path=LinearPath(), prediction=FlowPrediction(), times=Uniform(), weight=NoWeight()
    )
    return module


def _plans_every_frame_once(rollout: Rollout, count: int) -> None:
    """The plan makes each frame once, of frames that are made, and is the same every time."""
    plan = rollout.plan(count)
    are_canvases = isinstance(plan, Sequence) and all(isinstance(canvas, CanvasPlan) for canvas in plan)
    require(
        are_canvases and not isinstance(plan, CanvasPlan),
        f"plan({count}) is {plan!r}, and must be a tuple of CanvasPlan",
    )
    require(plan == rollout.plan(count), f"plan({count}) is another one when it is asked for again")
    for number, canvas in enumerate(plan, 1):
        slots = set(range(len(canvas.frames)))
        where = f"canvas {number} of plan({count})"
        are_whole = all(isinstance(frame, int) for frame in canvas.frames)
        require(are_whole, f"{where} has frames {canvas.frames!r}, and must have whole numbers")
        require(slots >= {*canvas.known, *canvas.empty}, f"{where} has known or empty slots outside of its frames")
        require(not {*canvas.known} & {*canvas.empty}, f"{where} has slots that are known and empty at once")
        require(bool(canvas.new), f"{where} makes no frame")
        are_past = all(isinstance(each, RememberedSegment) for each in canvas.remembered)
        require(are_past, f"{where} remembers {canvas.remembered!r}: each must be a RememberedSegment")
        placed = canvas.positions is None or len(canvas.positions) == len(slots)
        require(placed, f"{where} has {len(slots)} frames and not as many positions")
        require(not canvas.remembered or rollout.memory is not None, f"{where} remembers, but `memory` is None")
    try:
        check_plan(plan, count)
    except ValueError as error:
        fail(f"plan({count}): {error}")
    joins = chunk_boundaries(plan, 3)
    inside = all(0 < frame < count for frame in joins)
    require(inside, f"plan({count}) has boundaries at {joins}: they must lie inside the video")


class Recorder:
    """Stands for sampling: every slot of the n-th canvas comes back as the number 1000 n + slot."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Condition, Given | None]] = []

    def __call__(self, noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
        """A canvas b c f h w; frames that are given stay."""
        self.calls.append((noise, condition, given))
        tags = 1000.0 * len(self.calls) + torch.arange(noise.shape[2])
        made = tags.view(1, 1, -1, 1, 1).expand_as(noise)
        return made if given is None else torch.where(given.mask[:, None, :, None, None], given.video, made)


def _carries_out_its_plan(rollout: Rollout, count: int) -> None:
    """Canvases are denoised as planned, and their frames are the video's, in their places."""
    noise, _, condition = example(count, channels=CHANNELS, text_features=TEXT)
    record, plan = Recorder(), rollout.plan(count)
    with torch.no_grad():
        video = rollout(record, Canvas(noise, condition))
    require(video.shape == noise.shape, f"noise of {tuple(noise.shape)} becomes a video of {tuple(video.shape)}")
    require(
        len(record.calls) == len(plan),
        f"{len(record.calls)} canvases of {count} frames are denoised, but {len(plan)} are planned",
    )
    made = video[:, 0, :, 0, 0]
    for number, (canvas, call) in enumerate(zip(plan, record.calls, strict=True), 1):
        _is_the_planned_canvas(canvas, call, made, f"canvas {number} of a video of {count} frames")
        for slot in canvas.new:
            found = bool((made[:, canvas.frames[slot]] == 1000.0 * number + slot).all())
            require(found, f"frame {canvas.frames[slot]} of {count} is not what canvas {number} made in slot {slot}")


def _is_the_planned_canvas(
    plan: CanvasPlan, call: tuple[Tensor, Condition, Given | None], made: Tensor, where: str
) -> None:
    noise, condition, given = call
    require(noise.shape[2] == len(plan.frames), f"{where} has {noise.shape[2]} frames, and {len(plan.frames)} planned")
    require(
        condition.frame_index.shape == (len(noise), len(plan.frames)),
        f"{where} has a frame_index of {tuple(condition.frame_index.shape)} for {len(plan.frames)} frames",
    )
    places = plan.positions or plan.frames
    expected = torch.tensor(places, dtype=condition.frame_index.dtype).expand_as(condition.frame_index)
    require(torch.equal(condition.frame_index, expected), f"{where} tells the network other places than {places}")
    require(
        (given is None) == (not plan.known), f"{where} has {len(plan.known)} known frames, but was called otherwise"
    )
    if given is not None:
        known = given.mask[0].nonzero().flatten().tolist()
        require(known == sorted(plan.known), f"{where} is given slots {known} instead of {sorted(plan.known)}")
        for slot in plan.known:
            same = torch.equal(given.video[:, 0, slot, 0, 0], made[:, plan.frames[slot]])
            require(same, f"{where} is given something else than frame {plan.frames[slot]} in slot {slot}")
    remembered = sum(each.segments.video.shape[1] for each in condition.context)
    require(remembered == len(plan.remembered), f"{where} remembers {remembered} segments, not {len(plan.remembered)}")


def _makes_a_video(module: nn.Module, rollout: Rollout, other: Rollout, count: int) -> None:
    """Sampling is finite, the same for the same noise, another for other noise, and row by row."""
    noise, _, condition = example(count, channels=CHANNELS, text_features=TEXT)
    guidance, kept = ClassifierFreeGuidance(scale=2.0), noise.clone()

    def sample(noise: Tensor, condition: Condition, rollout: Rollout = rollout) -> Tensor:
        return generate(module, noise, condition, rollout=rollout, guidance=guidance)  # type: ignore[arg-type]

    video = sample(noise, condition)
    require(video.shape == noise.shape, f"noise of {tuple(noise.shape)} becomes a video of {tuple(video.shape)}")
    require(bool(video.isfinite().all()), f"a video of {count} frames holds NaN or infinity")
    require(torch.equal(noise, kept), "the rollout changes the noise in place")
    require(torch.equal(sample(noise, condition, other), video), "the same noise makes another video a second time")
    changed = sample(noise.flip(1), condition)
    least = (changed - video).abs().amax(dim=(0, 1, 3, 4)).min()
    require(bool(least > 1e-4), f"there are frames of {count} that do not depend on the noise")
    assert condition.text_mask is not None
    one = Condition(condition.frame_index[1:], condition.text[1:], condition.text_mask[1:])
    alone = sample(noise[1:], one)
    require(
        close(alone, video[1:], atol=1e-3),
        f"a video depends on what is made beside it: alone it differs by {furthest(alone, video[1:]):.2g}",
    )
