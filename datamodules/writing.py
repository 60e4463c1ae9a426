"""Video files out: H.264 mp4, written piece by piece, then renamed."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from einops import rearrange
from torch import Tensor

from networks.files import whole


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
