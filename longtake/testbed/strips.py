"""Frames side by side, as text that a page can hold."""

import base64
from typing import NamedTuple

import numpy as np

from longtake.testbed.folder import Pictures

NUM_FRAMES = 10
_MOST_SIDE = 128  # pixels


class Strip(NamedTuple):
    """One question: by method, "real" first, a picture as a data address."""

    question: str
    pictures: dict[str, str]


def places(num_frames: int) -> list[int]:
    """Frames that a strip shows: evenly spread, the first and the last among them."""
    return [int(place) for place in np.linspace(0, num_frames - 1, min(NUM_FRAMES, num_frames)).round()]


def draw_strip(frames: Pictures) -> str:
    """A JPEG of frames f h w c, as a data address; larger ones are shrunk."""
    import cv2

    height, width = frames.shape[1:3]
    scale = min(1.0, _MOST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    shown = [cv2.resize(frames[place], size, interpolation=cv2.INTER_AREA) for place in places(len(frames))]
    gap = np.full((size[1], 1, 3), 255, np.uint8)  # pictures without one are hard to tell apart
    row = np.concatenate([part for picture in shown for part in (picture, gap)], axis=1)
    # Colours at full resolution: small pictures have no pixel to spare.
    options = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", row[..., ::-1], options)
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
