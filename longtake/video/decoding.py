"""Frames of any film at any size and rate, as players show them, in memory that depends on the block alone.

Axes: f frames, h height, w width, c channels (RGB); uint8 in [0, 255].
"""

from collections.abc import Iterator
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longtake.video.pictures import Frames, Pictures
from longtake.video.places import check_path, local_file, shown
from longtake.video.probing import INTERLACED, Film, continuous, opened, probe, probe_local, warn_of

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 16
"""Frames of a block, unless asked otherwise: at 480 x 832, 19 MB."""
LONGEST_LOSS = 0.5
"""Seconds that the decoder may give less than the packets promise, as at a seam; what gives less is broken."""


def stream_frames(
    path: str | Path,
    *,
    height: int | None = None,
    width: int | None = None,
    fps: float = 0,
    crop_place: float = 0.5,
    frame_stride: int = 1,
    first: int = 0,
    num_frames: int | None = None,
    block_frames: int = BLOCK,
) -> Iterator[Frames]:
    """A film's frames in blocks f h w c, of block_frames each but the last; nothing else of it is held.

    The picture is scaled until it covers height x width, then cut. Frames are taken at multiples of 1 / fps from the
    first one's time until the last one's end, the last one shown at each, so that films of variable rate keep their
    speed; there are `probe(path).count(fps)`. fps=0 counts pictures instead and keeps every frame_stride-th.

    Args:
        path: path of the file, or a text such as https://… or s3://….
        height: height in pixels; None: as shown.
        width: width in pixels; None: as shown.
        fps: frames a second; 0: every frame_stride-th picture instead.
        crop_place: place in [0, 1] of the cut along the side that is too long; 0.5 is the centre.
        frame_stride: distance of the pictures that are kept, where fps is 0.
        first: frames, counted after fps or frame_stride, that are passed over.
        num_frames: most frames that are given; None: all.
        block_frames: frames of a block.

    Yields:
        Blocks f h w c in uint8.

    Raises:
        ValueError: if there is no film, it cannot be decoded, or it ends before it promised to.
    """
    name = shown(path)
    with local_file(path) as file:
        film = probe_local(file, name)
        pictures = Pictures(
            height=height or film.height,
            width=width or film.width,
            crop_place=crop_place,
            pixel_width=film.pixel_width,
            is_hdr=film.is_hdr,
        )
        frames = _by_time(file, film, name, fps) if fps else _by_number(file, film, name, frame_stride)
        yield from _blocks(frames, pictures, name, first, num_frames, block_frames)


def read_frames(
    path: str | Path,
    *,
    height: int,
    width: int,
    fps: float,
    crop_place: float,
    frame_stride: int = 1,
    first: int = 0,
    num_frames: int | None = None,
) -> Frames:
    """A whole film, or num_frames of it: f h w c, all in memory; as `stream_frames`.

    Args:
        path: path of the file, or a text such as https://… or s3://….
        height: height in pixels; None: as shown.
        width: width in pixels; None: as shown.
        fps: frames a second; 0: every frame_stride-th picture instead.
        crop_place: place in [0, 1] of the cut along the side that is too long; 0.5 is the centre.
        frame_stride: distance of the pictures that are kept, where fps is 0.
        first: frames, counted after fps or frame_stride, that are passed over.
        num_frames: most frames that are given; None: all.

    Returns:
        Frames f h w c in uint8.

    Raises:
        ValueError: as `stream_frames`.
    """
    wanted = {"height": height, "width": width, "fps": fps, "crop_place": crop_place, "frame_stride": frame_stride}
    held: Frames | None = None
    count = 0
    for block in stream_frames(path, **wanted, first=first, num_frames=num_frames):  # type: ignore[arg-type]
        if held is None:
            held = np.empty((len(block), *block.shape[1:]), np.uint8)
        if len(held) < count + len(block):
            # In place, by a fifth: two copies of a long film would not fit where one does.
            held.resize((max(count + len(block), count * 6 // 5), *block.shape[1:]), refcheck=False)
        held[count : count + len(block)] = block
        count += len(block)
    if held is None:
        raise ValueError(f"{shown(path)}: holds no frame")
    held.resize((count, *held.shape[1:]), refcheck=False)
    return held


def read_video(path: str | Path, *, height: int | None = None, width: int | None = None, fps: float = 0) -> "Tensor":
    """A whole video as pixels 3 f h w in [-1, 1].

    Args:
        path: path of the file.
        height: height in pixels; None: the file's own.
        width: width in pixels; None: the file's own.
        fps: frames a second that are kept; 0: all.

    Returns:
        Pixels 3 f h w in [-1, 1].

    Raises:
        ValueError: if a size or the rate is none, or the file holds no video or breaks off before its end.
    """
    import torch
    from einops import rearrange

    check_path(path)
    for name, value in (("height", height), ("width", width)):
        if value is not None and (not isinstance(value, Integral) or value < 1):
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1, or None for the file's own")
    if not isinstance(fps, Real) or not 0 <= fps < float("inf"):
        raise ValueError(f"fps={fps!r} must be a number above 0, or 0 for all frames")

    film = probe(path)
    frames = read_frames(path, height=height or film.height, width=width or film.width, fps=fps, crop_place=0.5)
    return rearrange(torch.from_numpy(frames).float() / 127.5 - 1, "f h w c -> c f h w")


def _blocks(
    frames: Iterator[Any], pictures: Pictures, name: str, first: int, num_frames: int | None, block_frames: int
) -> Iterator[Frames]:
    """Pictures of the frames that are wanted; one that is given twice is made once, and one passed over never."""
    block = np.empty((0, 0, 0, 3), np.uint8)
    given, made_of, picture = 0, None, np.empty(0)
    for place, frame in enumerate(frames):
        if num_frames is not None and given == num_frames:
            break
        if place < first:
            continue
        if frame is not made_of:
            try:
                made_of, picture = frame, pictures(frame)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        at = given % block_frames
        if at == 0:
            block = np.empty((block_frames, *picture.shape), np.uint8)
        block[at] = picture
        given += 1
        if at == block_frames - 1:
            yield block
    if given % block_frames:
        yield block[: given % block_frames]
    if pictures.shows_hdr_grey:
        warn_of(name, "HDR, and shown greyer than it is: this FFmpeg cannot map its tones; PyAV 16 can")


def _by_number(path: Path, film: Film, name: str, stride: int) -> Iterator[Any]:
    yield from (frame for number, (_, frame) in enumerate(_timed(path, film, name)) if number % stride == 0)


def _by_time(path: Path, film: Film, name: str, fps: float) -> Iterator[Any]:
    """The frame shown at each multiple of 1 / fps, `film.count(fps)` of them."""
    count, given = film.count(fps), 0
    now: Any = None
    for time, frame in _timed(path, film, name):
        # Every wanted time before this frame is filled by the one that was shown until now.
        while now is not None and given < count and given / fps < time - film.slack:
            yield now
            given += 1
        now = frame
    if now is None:
        raise ValueError(f"{name}: holds no frame")
    for _ in range(given, count):
        yield now


def _timed(path: Path, film: Film, name: str) -> Iterator[tuple[float, Any]]:
    """Pictures that are shown, in order, with seconds from the film's first one on.

    Raises:
        ValueError: if one cannot be decoded, or they end long before the packets do.
    """
    with opened(path, name) as container:
        time, number, step = 0.0, 0, 1 / film.fps
        for frame in _decoded(container, film, name):
            if film.times is not None:
                time = film.times[min(number, len(film.times) - 1)]
            elif frame.pts is not None:
                time = max(frame.pts * film.tick - film.start, time)
            else:
                time += step if number else 0.0
            yield time, frame
            number += 1
    if not number:
        raise ValueError(f"{name}: holds no frame")
    last = film.times[-1] if film.times is not None else film.seconds - step
    if number < film.num_frames and time < last - max(LONGEST_LOSS, 3 * step):
        raise ValueError(f"{name}: breaks off, its pictures can be decoded up to {time:.1f} of {film.seconds:.1f} s")


def _decoded(container: Any, film: Film, name: str) -> Iterator[Any]:
    """Frames of the film's stream; what cannot be decoded before the first one is passed over, as players do.

    Raises:
        ValueError: if a later packet cannot be decoded.
    """
    import av

    stream = container.streams[film.stream]
    stream.thread_type = "AUTO"
    own: Any = None
    if film.decoder:
        own = av.CodecContext.create(film.decoder, "r")
    decode = stream.decode if own is None else own.decode
    started = False
    for packet in continuous(container.demux(stream), container.format.name):
        if not packet.size:  # an empty one would end the decoder's work
            continue
        try:
            frames = decode(packet)
        except av.error.InvalidDataError:
            if started:
                raise
            continue
        for frame in frames:
            started = started or not frame.is_corrupt
            if started:
                if frame.interlaced_frame:
                    warn_of(name, INTERLACED)
                yield frame
    yield from decode(None)
