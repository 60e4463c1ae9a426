"""Frames of a video side by side, as text that a page can hold. Axes: c f h w."""

import base64

import numpy as np
from torch import Tensor

from longtake.metrics.flow import pixels


def frame_strip(video: Tensor, *, num_frames: int = 8, height: int = 96) -> str:
    """A JPEG in base64 of frames evenly spread over a video 3 f h w in [-1, 1], the first and the last among them."""
    import cv2

    places = np.linspace(0, video.shape[1] - 1, min(num_frames, video.shape[1])).round().astype(int)
    width = max(1, round(height * video.shape[3] / video.shape[2]))
    frames = [cv2.resize(pixels(video[:, place]), (width, height), interpolation=cv2.INTER_AREA) for place in places]
    row = np.concatenate(frames, axis=1)[..., ::-1]
    _, data = cv2.imencode(".jpg", row, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return base64.b64encode(data.tobytes()).decode()
