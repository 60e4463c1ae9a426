"""Videos whose first or last frames are given: from an image, on from a video, or between two.

Axes: b batch, c channels, f frames, h height, w width.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from longtake.rollouts.interfaces import Generate, Given, Wrap, unwrapped
from longtake.rollouts.rollout import Rollout
from networks.interfaces import Codec, Condition


def given_ends(
    codec: Codec, start: Tensor | None, end: Tensor | None, *, num_latents: int, size: tuple[int, int], frame_patch: int
) -> Given:
    """Encodes given frames to the latents that a video begins or ends with, on the frames' device and in their type.

    The end is encoded by itself, so that its first latent stands for one frame and not for the codec's time factor.

    Args:
        codec: codec that encodes them.
        start: pixels b 3 f h w in [-1, 1] of the first frames, f = time_factor · n + 1; one for an image.
        end: the last frames, in the same form.
        num_latents: latent frames of the whole video.
        size: height and width of the video.
        frame_patch: latent frames of a token, all of which are given or none.

    Returns:
        Which frames are given, and a canvas with them in place.

    Raises:
        ValueError: if nothing is given, too much is, or it has another size than the video.
    """
    if start is None and end is None:
        raise ValueError("no frames are given: give start=, end= or both, or call the pipeline itself")
    found: dict[str, Tensor] = {}
    for name, video in (("start", start), ("end", end)):
        if video is None:
            continue
        if tuple(video.shape[-2:]) != size or (video.shape[2] - 1) % codec.time_factor:
            raise ValueError(
                f"{name} is {video.shape[2]} frames of {video.shape[3]}x{video.shape[4]}, but must be "
                f"{codec.time_factor}n + 1 frames of {size[0]}x{size[1]}"
            )
        found[name] = codec.encode(video)
        if found[name].shape[2] % frame_patch:
            raise ValueError(
                f"{name} is {found[name].shape[2]} latent frames, which do not split into tokens of {frame_patch}: "
                f"give {codec.time_factor * (frame_patch - 1) + 1} frames"
            )
    count = sum(latents.shape[2] for latents in found.values())
    if count >= num_latents:
        raise ValueError(f"{count} latent frames are given of {num_latents}: leave some to be made")
    sample = next(iter(found.values()))
    video = sample.new_zeros(*sample.shape[:2], num_latents, *sample.shape[3:])
    mask = torch.zeros(len(sample), num_latents, dtype=torch.bool, device=sample.device)
    for name, place in (("start", 0), ("end", num_latents)):
        if name in found:
            latents = found[name]
            first = place if name == "start" else place - latents.shape[2]
            video[:, :, first : first + latents.shape[2]] = latents
            mask[:, first : first + latents.shape[2]] = True
    return Given(mask, video)


def check_one_canvas(rollout: Rollout, num_latents: int) -> None:
    """Refuses a rollout that makes a video in several canvases: frames can only be given in one.

    Args:
        rollout: how the canvas is filled.
        num_latents: latent frames of the video.

    Raises:
        ValueError: if it makes more than one.
    """
    if len(rollout.plan(num_latents)) > 1:
        raise ValueError(f"rollout={rollout.name} makes canvas after canvas: use rollout=single_pass or full_attention")


def beside(ends: Given) -> Callable[[Generate], Generate]:
    """Makes a rollout's one canvas hold the given frames, at time 0 (without noise) in every step."""

    def wrapped(window: Generate) -> Generate:
        def generate(noise: Tensor, condition: Condition, given: Given | None, wrap: Wrap = unwrapped) -> Tensor:
            assert given is None, "a canvas that has frames of its own is refused before"
            here = Given(ends.mask.to(noise.device), ends.video.to(noise))
            return window(noise, condition, here, wrap)

        return generate

    return wrapped
