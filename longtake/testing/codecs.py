"""What every codec must do. Axes: b batch, c channels, f frames, h height, w width."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from longtake.testing.inputs import battery, close, fail, furthest, require, require_tensor
from networks.interfaces import Codec


@battery
def check_codec(codec: Codec, *, height: int = 16, width: int = 24, prefix: bool = True) -> None:
    """Runs a codec of `networks.interfaces.Codec` through every rule.

    Args:
        codec: codec with its weights, in evaluation mode.
        height: pixels to try, a multiple of its space_factor.
        width: the same.
        prefix: whether the first latents are those of the first frames alone, which the clip cache counts on where it
            cuts shorter clips from longer ones. A codec whose norms see all frames is only nearly causal: False.

    Raises:
        AssertionError: for the first rule that is broken, in one sentence.
    """
    require(
        not isinstance(codec, type),
        f"give a built codec, such as {getattr(codec, '__name__', codec)}(…), and not its class",
    )
    for name in ("time_factor", "space_factor", "channels"):
        size = getattr(codec, name, None)
        require(isinstance(size, int), f"{name} is {size!r}, and must be a whole number")
    video = torch.rand(2, 3, 2 * codec.time_factor + 1, height, width, generator=torch.Generator().manual_seed(0))
    video = 2 * video - 1
    with torch.no_grad():
        _follows_the_frame_rule(codec, video)
        _refuses_other_sizes(codec, video)
        _is_a_function_of_each_row(codec, video)
        if prefix:
            _begins_alike(codec, video)
        _streams_what_it_encodes(codec, video, exact=prefix)
        _streams_what_it_decodes(codec, video)
    name = codec.fingerprint
    require(
        isinstance(name, str) and bool(name) and codec.fingerprint == name,
        f"fingerprint is {name!r} and must be a text that stays: cached latents are found by it",
    )


def _follows_the_frame_rule(codec: Codec, video: Tensor) -> None:
    """time_factor · n + 1 frames become n + 1 latents, and come back as many."""
    time, space = codec.time_factor, codec.space_factor
    for latent_frames in (1, 2, 3):
        clip = video[:, :, : (latent_frames - 1) * time + 1]
        latents = codec.encode(clip)
        require_tensor(latents, "encode")
        expected = (len(clip), codec.channels, latent_frames, clip.shape[3] // space, clip.shape[4] // space)
        require(
            tuple(latents.shape) == expected,
            f"{clip.shape[2]} frames are encoded to {tuple(latents.shape)}, which should be {expected} by "
            f"time_factor={time}, space_factor={space} and channels={codec.channels}",
        )
        decoded = codec.decode(latents)
        require_tensor(decoded, "decode")
        require(
            decoded.shape == clip.shape,
            f"latents of {tuple(clip.shape)} are decoded to {tuple(decoded.shape)}: both must be alike",
        )
        require(bool((decoded.abs() <= 1).all()), "decoded pixels lie outside of [-1, 1], or are NaN")


def _refuses_other_sizes(codec: Codec, video: Tensor) -> None:
    """Frames and sides that break the rules end in ValueError."""
    wrong: dict[str, Tensor] = {}
    if codec.time_factor > 1:
        wrong[f"{2 * codec.time_factor} frames"] = video[:, :, :-1]
    if codec.space_factor > 1:
        wrong[f"a height of {video.shape[3] - 1}"] = video[:, :, :, :-1]
        wrong[f"a width of {video.shape[4] - 1}"] = video[..., :-1]
    for what, clip in wrong.items():
        _raises_value_error(lambda clip=clip: codec.encode(clip), what)  # type: ignore[misc]


def _raises_value_error(call: Callable[[], object], what: str) -> None:
    try:
        call()
    except ValueError:
        return
    except Exception as error:
        fail(f"{what} ends in {type(error).__name__}: refuse it by ValueError, before anything is computed")
    fail(f"{what} is encoded: it must be refused by ValueError")


def _is_a_function_of_each_row(codec: Codec, video: Tensor) -> None:
    """The same video gives the same latents, alone or in a batch, and stays as it is."""
    kept = video.clone()
    latents = codec.encode(video)
    require(torch.equal(codec.encode(video), latents), "the same video is encoded to other latents a second time")
    require(torch.equal(video, kept), "encode changes its input in place")
    alone = codec.encode(video[1:])
    require(
        close(alone, latents[1:], atol=1e-4),
        f"a video's latents depend on its batch: they differ by {furthest(alone, latents[1:]):.2g}",
    )
    require(not latents.requires_grad, "encode returns latents with a gradient: caching would hold its whole graph")


def _begins_alike(codec: Codec, video: Tensor) -> None:
    """The latents of the first frames are the first latents."""
    latents = codec.encode(video)
    for count in (1, 2):
        first = codec.encode(video[:, :, : (count - 1) * codec.time_factor + 1])
        require(
            close(first, latents[:, :, :count], atol=1e-4),
            f"the latents of the first {(count - 1) * codec.time_factor + 1} frames are not the first {count} of the "
            "whole video: frames must not be seen by those before them",
        )


def _joined(pieces: Iterable[Tensor], what: str) -> Tensor:
    """The pieces of a stream as one."""
    found = list(pieces) if isinstance(pieces, Iterable) else []
    require(bool(found), f"{what} gives no pieces, and must yield tensors")
    return torch.cat(found, dim=2)


def _streams_what_it_encodes(codec: Codec, video: Tensor, *, exact: bool) -> None:
    """encode_stream's pieces, put together, are what encode makes; of a codec that is only nearly causal, as many."""
    first = codec.time_factor + 1
    pieces = [video[:, :, :first], video[:, :, first:]]
    streamed, whole = _joined(codec.encode_stream(iter(pieces)), "encode_stream"), codec.encode(video)
    require(
        streamed.shape == whole.shape,
        f"the pieces of encode_stream make {tuple(streamed.shape)}, and encode {tuple(whole.shape)}",
    )
    difference = furthest(streamed, whole)
    require(
        difference < 1e-3 or not exact,
        f"encode_stream differs from encode by {difference:.2g}: films are cached by it piece by piece",
    )


def _streams_what_it_decodes(codec: Codec, video: Tensor) -> None:
    """decode_stream's pieces, put together, are what decode makes."""
    latents = codec.encode(video)
    streamed, whole = _joined(codec.decode_stream(latents), "decode_stream"), codec.decode(latents)
    require(
        streamed.shape == whole.shape,
        f"the pieces of decode_stream make {tuple(streamed.shape)}, and decode {tuple(whole.shape)}",
    )
    difference = furthest(streamed, whole)
    require(difference < 1e-3, f"decode_stream differs from decode by {difference:.2g} in pixels of [-1, 1]")
