"""`generate.py given=FILE` by weights without a memory: a video whose first frames, last frames or both are given."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from longtake.cli.dry_run import print_plan
from longtake.cli.making import make
from longtake.cli.processes import alone_in
from longtake.cli.request import Request
from longtake.cli.storyboard import make_storyboard_video
from longtake.cli.take import order_of
from longtake.cli.weights import Take
from longtake.control import control_for
from longtake.ends import check_one_canvas, given_ends
from longtake.parallel import Mesh
from longtake.storyboard.given import ReadFrames, VideoProbe
from longtake.video.places import is_remote, place, told

log = logging.getLogger("longtake")


def make_given(
    request: Request,
    write_video: Callable[..., None],
    read_frames: ReadFrames,
    mesh: Mesh | None = None,
    device: Any = None,
) -> None:
    """Writes videos whose first frames, last frames or both are given; weights with a memory use a storyboard for that.

    Args:
        request: what is to be made, of which weights.
        write_video: function that writes a file.
        read_frames: function that reads pictures and videos.
        mesh: this process's place among several; None: it is alone.
        device: device to sample on; None: a GPU if there is one.

    Raises:
        ValueError: if these weights never saw a clean frame among noisy ones, a file is no video, or sizes differ.
    """
    take = Take(request, device)
    if take.network.takes_segments:
        if request.given_end is not None:
            raise ValueError(
                f"given_end={request.given_end} goes with weights without a memory: these make segments, so write a "
                "storyboard with a video of role last"
            )
        make_storyboard_video(request, write_video, read_frames, mesh, device, take=take)
        return
    made = with_ends(request, take, read_frames)
    if request.dry_run:
        print_plan(request)
        return
    mesh = mesh or Mesh()
    made.pipeline.spread(mesh, num_frames=request.num_frames)
    order = order_of(request, made)
    with alone_in(order.output, mesh):
        make(made, order, write_video, mesh)


def refuse_one_time(take: Take) -> None:
    """Refuses weights that were trained with one noise level for all frames, to which clean frames are unknown.

    Args:
        take: the weights.

    Raises:
        ValueError: if they were trained with one noise level for all frames.
    """
    if take.network.backbone.frame_times or take.module.objective.context_rate > 0:
        return
    raise ValueError(
        "given: these weights were trained with one noise level for all frames, so they cannot use given frames, which "
        "are clean: train with objective.context_rate=0.2 objective.max_context_frames=4, or use weights of "
        "backbone=wan22_ti2v or ltx"
    )


def with_ends(request: Request, take: Take, read_frames: ReadFrames) -> Take:
    """The same weights for videos with frames that are given.

    Args:
        request: names the files, how many frames of them, and the length of the whole video.
        take: the weights.
        read_frames: reads pictures and videos.

    Returns:
        Another take.

    Raises:
        ValueError: as `make_given`.
    """
    refuse_one_time(take)
    if request.given_end is not None and not take.network.backbone.frame_times:
        log.warning(
            "given_end: these weights were trained with given frames at the start alone, so the end may not fit"
        )
    made = take.of_length(request.num_frames)
    made.control = control_for(made.network, request.control_file, request.num_frames)
    check_one_canvas(made.rollout, made.num_latents)
    sides = {"given": request.given, "given_end": request.given_end}
    pixels = {
        key: _pixels(made, key, where, request.given_frames, read_frames)
        for key, where in sides.items()
        if where is not None
    }
    content = hashlib.sha256()
    for key, video in pixels.items():
        content.update(f"{key} {tuple(video.shape)}".encode() + video.numpy().tobytes())
    start, end = (None if x is None else _as_seen(x, made.device) for x in map(pixels.get, sides))
    made.pipeline.make_room_for_codec()
    with torch.no_grad():
        ends = given_ends(
            made.codec.to(made.device),
            *(start, end),
            num_latents=made.num_latents,
            size=(made.height, made.width),
            frame_patch=made.network.frame_patch,
        )
    made.ends, made.ends_content = ends, content.hexdigest()[:16]
    count = int(ends.mask[0].sum())
    log.info(f"{count} of {made.num_latents} latent frames are given, and stay as they are")
    return made


def _as_seen(video: Tensor, device: torch.device) -> Tensor:
    return rearrange(video, "f h w c -> 1 c f h w").to(device).float() / 127.5 - 1


def _pixels(take: Take, key: str, where: str, most: int, read_frames: ReadFrames) -> Tensor:
    """The last frames of a video given for the start, or the first ones of a video given for the end: f h w c, uint8.

    Their number is the largest that makes whole tokens and is at most `most`; a picture is one frame.
    """
    path = place(where) if is_remote(where) else Path(where).absolute()
    with told(path):
        if not path.is_file():
            raise ValueError(f"{key}={where}: no such file; give a picture or a video")
    count, factor, deep = VideoProbe(take.fps)(path).num_frames, take.codec.time_factor, take.network.frame_patch
    latents = (min(count, most) - 1) // factor + 1
    latents = max(latents - latents % deep, 1)
    number = factor * (latents - 1) + 1
    size: dict[str, Any] = {"height": take.height, "width": take.width, "fps": take.fps, "crop_place": 0.5}
    first = count - number if key == "given" else 0
    frames = read_frames(path, **size, first=first, num_frames=number)
    if len(frames) < number:
        raise ValueError(f"{key}={where} gives {len(frames)} frames, but {number} are needed: give a longer video")
    return torch.from_numpy(frames)
