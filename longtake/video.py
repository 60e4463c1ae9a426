"""Videos in and out: frames of any file at one size and rate, and H.264 mp4 written piece by piece, then renamed.

Axes: f frames, h height, w width, c channels (RGB); uint8 in [0, 255].
"""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from einops import rearrange
from torch import Tensor

from networks.files import whole

Frames = npt.NDArray[Any]


class Shape(NamedTuple):
    """A video as it is shown: height and width in pixels, frames a second."""

    height: int
    width: int
    fps: float


def _regular(path: str | Path) -> Path:
    """The path of a file with an end: a pipe would be waited for, a device read for ever.

    Raises:
        ValueError: for anything else that is there.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: no video but a folder, pipe, socket or device")
    return path


def shape_of(path: str | Path) -> Shape:
    """Looks at a video's first frame.

    Raises:
        ValueError: if the file cannot be decoded, has no picture, or does not say how fast it is.
    """
    import av

    path = _regular(path)
    try:
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            fps = float(stream.average_rate or stream.guessed_rate or 0)
            frame = next(container.decode(stream))
    except (av.FFmpegError, IndexError, StopIteration, OSError) as error:
        reason = {IndexError: "no video stream", StopIteration: "no frame"}.get(type(error), type(error).__name__)
        raise ValueError(f"{path}: cannot be decoded ({reason})") from error
    if fps <= 0:
        raise ValueError(f"{path}: does not say how many frames a second it has")
    lies = frame.rotation % 180 == 90
    return Shape(*((frame.width, frame.height) if lies else (frame.height, frame.width)), fps)


def read_frames(
    path: str | Path, *, height: int, width: int, fps: float, crop_place: float, frame_stride: int = 1
) -> Frames:
    """Decodes a whole video: f h w c.

    The picture is scaled until it covers height x width and then cut; crop_place in [0, 1] says where along the side
    that is too long (0.5 is the centre). Frames are taken at multiples of 1 / fps by their time stamps, the last one
    shown at each, so that videos of variable rate keep their speed; fps=0 counts frames instead and keeps every
    frame_stride-th, from the first on. A turn that the file asks for, as telephones write it, is made.

    Raises:
        ValueError: if the file cannot be decoded, has no picture, or ends before it promised to.
    """
    import av
    from av.video.reformatter import VideoReformatter

    path = _regular(path)
    try:
        # Titles and the like may be in any encoding: they are not ours to judge.
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            promised = stream.frames
            picture = partial(_picture, VideoReformatter(), height=height, width=width, crop_place=crop_place)
            frames, read = _decode(container, stream, picture, fps, frame_stride)
    except (av.FFmpegError, IndexError, OSError) as error:
        reason = "no video stream" if isinstance(error, IndexError) else type(error).__name__
        raise ValueError(f"{path}: cannot be decoded ({reason})") from error
    if not frames:
        raise ValueError(f"{path}: holds no frame")
    if read < promised:
        raise ValueError(f"{path}: truncated, {read} of {promised} frames")
    return np.stack(frames)


class Film(NamedTuple):
    """Shim."""

    seconds: float
    num_frames: int

    def count(self, fps: float) -> int:
        """Frames at a rate."""
        return max(1, round(self.seconds * fps))


def probe(path: str | Path) -> Film:
    """Shim."""
    import av

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            return Film(float((stream.duration or 0) * (stream.time_base or 0)), stream.frames)
    except (av.FFmpegError, IndexError, OSError) as error:
        raise ValueError(f"{path}: cannot be decoded ({type(error).__name__})") from error


def stream_frames(path: str | Path, *, block_frames: int = 32, **wanted: Any) -> Iterator[Frames]:
    """As `read_frames`, in blocks."""
    frames = read_frames(path, **wanted)
    for begin in range(0, len(frames), block_frames):
        yield frames[begin : begin + block_frames]


def _decode(
    container: Any, stream: Any, picture: Callable[[Any], Frames], fps: float, frame_stride: int
) -> tuple[list[Frames], int]:
    """The frames at the wanted rate, and how many coded frames the file held.

    Coded frames are counted, not shown ones: a clip that was cut without coding anew holds some that are never shown.
    """
    frames: list[Frames] = []
    shown: Any = None
    read, counted, start, last_time = 0, 0, None, 0.0
    for packet in container.demux(stream):
        read += packet.size > 0 or packet.dts is not None  # the last packet, which flushes the decoder, is neither
        for frame in packet.decode():
            if fps == 0 or frame.time is None:
                if counted % frame_stride == 0:
                    frames.append(picture(frame))
                counted += 1
                continue
            start = frame.time if start is None else start
            last_time = frame.time - start
            # Every wanted time before this frame is filled by the one that was shown until now; frames that are shown
            # at no wanted time are never scaled.
            if shown is not None and len(frames) / fps < last_time - 1e-6:
                kept = picture(shown)
                while len(frames) / fps < last_time - 1e-6:
                    frames.append(kept)
            shown = frame
    if shown is not None and len(frames) / fps <= last_time + 1e-6:
        frames.append(picture(shown))
    return frames, read


def _picture(reformatter: Any, frame: Any, *, height: int, width: int, crop_place: float) -> Frames:
    """One frame, scaled, turned upright and cut: h w c."""
    from av.video.reformatter import Interpolation

    quarters = round(frame.rotation / 90) % 4  # counter-clockwise, to stand upright
    tall, wide = (height, width) if quarters % 2 == 0 else (width, height)  # as the file lies
    scale = max(tall / frame.height, wide / frame.width)
    covering = max(round(frame.height * scale), tall), max(round(frame.width * scale), wide)
    scaled = reformatter.reformat(frame, covering[1], covering[0], "rgb24", interpolation=Interpolation.AREA)
    upright = np.rot90(scaled.to_ndarray(), quarters)
    top, left = (round((upright.shape[i] - side) * crop_place) for i, side in enumerate((height, width)))
    return np.ascontiguousarray(upright[top : top + height, left : left + width])


def read_video(path: str | Path, *, height: int | None = None, width: int | None = None, fps: float = 0) -> Tensor:
    """A whole video as pixels 3 f h w in [-1, 1].

    Args:
        path: of the file.
        height: in pixels; None: the file's own.
        width: in pixels; None: the file's own.
        fps: frames a second that are kept; 0: all.

    Raises:
        ValueError: if the file holds no video, or breaks off before its end.
    """
    import torch

    shape = shape_of(path)
    frames = read_frames(path, height=height or shape.height, width=width or shape.width, fps=fps, crop_place=0.5)
    return rearrange(torch.from_numpy(frames).float() / 127.5 - 1, "f h w c -> c f h w")


def write_video(path: str | Path, pieces: Iterable[Tensor], *, fps: float) -> None:
    """Writes pieces of one video; only one is in memory at a time, and a file that is there is a whole one.

    pieces: 3 f h w each, in [-1, 1], height and width even; fps: frames a second.
    """
    import av

    path = Path(path)  # absolute below: FFmpeg reads `a:b` as a protocol and an address
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part, av.open(str(part.absolute()), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.pix_fmt = "yuv420p"
        # Without mbtree, whose result differs from run to run: the same frames make the same file.
        stream.options = {"crf": "16", "preset": "veryfast", "x264-params": "no-mbtree=1"}
        for piece in pieces:
            if not stream.codec_context.is_open:
                stream.height, stream.width = piece.shape[2:]
            frames = rearrange(((piece.float().clamp(-1, 1) + 1) * 127.5).round().byte(), "c f h w -> f h w c").numpy()
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
