"""H.264 mp4 written piece by piece, then renamed."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from longtake.video.pictures import is_high
from networks.files import whole

if TYPE_CHECKING:
    from torch import Tensor


class _Matrix(NamedTuple):
    """A way to write colours: PyAV's name of its matrix, and FFmpeg's numbers of matrix, primaries and transfer."""

    name: str
    matrix: int
    primaries: int
    transfer: int


BT601 = _Matrix("ITU601", 6, 6, 6)
BT709 = _Matrix("ITU709", 1, 1, 1)


def write_video(path: str | Path, pieces: "Iterable[Tensor]", *, fps: float) -> None:
    """Writes pieces of one video; only one is in memory at a time, and a file that is there is a whole one.

    Its colours are BT.709's or, in a small video, BT.601's, and it says so: what says nothing is shown by either.

    Args:
        path: path of the file.
        pieces: 3 f h w each, in [-1, 1], height and width even.
        fps: frames a second.
    """
    import av
    from einops import rearrange

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
                matrix = BT709 if is_high(stream.height, stream.width) else BT601
                _tag(stream.codec_context, matrix)
            frames = rearrange(((piece.float().clamp(-1, 1) + 1) * 127.5).round().byte(), "c f h w -> f h w c").numpy()
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture = picture.reformat(format="yuv420p", dst_colorspace=matrix.name)
                container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _tag(context: Any, colours: _Matrix) -> None:
    """Writes into the stream how its colours are meant; the range is that of television."""
    context.colorspace, context.color_primaries = colours.matrix, colours.primaries
    context.color_trc, context.color_range = colours.transfer, 1
