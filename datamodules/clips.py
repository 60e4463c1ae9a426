"""Frames out of video files, at one size and rate.

Axes: f frames, h height, w width, c channels (RGB); uint8 in [0, 255].
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[Any]


def read_frames(path: str | Path, *, height: int, width: int, fps: float, crop_place: float) -> Frames:
    """Decodes a whole video: f h w c.

    The picture is scaled until it covers height x width and then cut; crop_place in [0, 1] says where along the side
    that is too long (0.5 is the centre). Frames are taken at multiples of 1 / fps by their time stamps, the last one
    shown at each, so that videos of variable rate keep their speed; fps=0 keeps every frame.

    Raises:
        ValueError: if the file cannot be decoded, has no picture, or ends before it promised to.
    """
    import av

    path = Path(path)
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            promised = stream.frames
            frames, decoded = _decode(container, stream, height, width, fps, crop_place)
    except (av.FFmpegError, IndexError, OSError) as error:
        reason = "no video stream" if isinstance(error, IndexError) else type(error).__name__
        raise ValueError(f"{path}: cannot be decoded ({reason})") from error
    if not frames:
        raise ValueError(f"{path}: holds no frame")
    if decoded < promised:
        raise ValueError(f"{path}: truncated, {decoded} of {promised} frames")
    return np.stack(frames)


def _decode(
    container: Any, stream: Any, height: int, width: int, fps: float, crop_place: float
) -> tuple[list[Frames], int]:
    """The frames at the wanted rate, and how many the file held."""
    from av.video.reformatter import Interpolation, VideoReformatter

    reformatter = VideoReformatter()
    frames: list[Frames] = []
    shown: Frames | None = None
    decoded, start, last_time = 0, None, 0.0
    for frame in container.decode(stream):
        decoded += 1
        scale = max(height / frame.height, width / frame.width)
        tall, wide = max(round(frame.height * scale), height), max(round(frame.width * scale), width)
        scaled = reformatter.reformat(frame, wide, tall, "rgb24", interpolation=Interpolation.AREA)
        top, left = round((tall - height) * crop_place), round((wide - width) * crop_place)
        picture = np.ascontiguousarray(scaled.to_ndarray()[top : top + height, left : left + width])
        if fps == 0 or frame.time is None:
            frames.append(picture)
            continue
        start = frame.time if start is None else start
        last_time = frame.time - start
        # Every wanted time before this frame is filled by the one that was shown until now.
        while shown is not None and len(frames) / fps < last_time - 1e-6:
            frames.append(shown)
        shown = picture
    if shown is not None and len(frames) / fps <= last_time + 1e-6:
        frames.append(shown)
    return frames, decoded
