"""Videos of known frames, and broken ones, written as other people's programs would."""

from fractions import Fraction

import av
import numpy as np

from longtake.video import read_frames


def make(path, num_frames=20, height=32, width=48, fps=10, times=None, first=0):
    """Frame f is grey of level 10 (f mod 25), counted from `first` on: films of one content would count as one.

    times: one presentation time a frame in seconds, for a variable rate.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": "1", "bf": "0"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(num_frames):
            grey = np.full((height, width, 3), 10 * ((first + number) % 25), np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (number / fps if times is None else times[number]))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels(frames):
    return [round(float(frame.mean()) / 10) for frame in frames]


def read(path, **changes):
    return read_frames(path, **{"height": 16, "width": 16, "fps": 0, "crop_place": 0.5, **changes})


def broken_files(folder):
    good = make(folder / "good.mp4").read_bytes()
    files = {"empty.mp4": b"", "text.mp4": b"not a video at all" * 50, "truncated.mp4": good[: len(good) // 2]}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return [*files, "sound.mp4", "missing.mp4"]


def textured(path, levels, size=64, fps=8):
    """Textured frames whose brightness follows `levels` (0 to 255)."""
    height, width = size if isinstance(size, tuple) else (size, size)
    texture = np.random.default_rng(0).integers(-20, 20, (height // 8, width // 8, 3)).repeat(8, 0).repeat(8, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for level in levels:
            pixels = (texture + level).clip(0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
