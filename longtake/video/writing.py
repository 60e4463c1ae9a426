"""H.264 mp4 written piece by piece, then renamed."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from longtake.video.pictures import is_high
from longtake.video.places import check_path, is_remote
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
        path: path of the file, on this machine.
        pieces: 3 f h w each, in [-1, 1], height and width even and the same in all; or one video so.
        fps: frames a second.

    Raises:
        ValueError: if that is no video, or no rate or file of one; what stood there stays.
    """
    import av
    from einops import rearrange

    check_path(path)
    rate = _rate(fps)
    if is_remote(path):
        raise ValueError(f"{path}: videos are written to the disks of this machine: give a path")
    path = Path(path)  # absolute below: FFmpeg reads `a:b` as a protocol and an address
    if not path.name or path.is_dir():
        raise ValueError(f"{path} is a folder: give the path of a file in it, such as {path / 'video.mp4'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as part, av.open(str(part.absolute()), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        # Without mbtree, whose result differs from run to run: the same frames make the same file.
        stream.options = {"crf": "16", "preset": "veryfast", "x264-params": "no-mbtree=1"}
        for piece in _checked(path, pieces):
            if not stream.codec_context.is_open:
                stream.height, stream.width = piece.shape[2:]
                matrix = BT709 if is_high(stream.height, stream.width) else BT601
                _tag(stream.codec_context, matrix)
            values = ((piece.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu()
            for frame in rearrange(values, "c f h w -> f h w c").numpy():
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture = picture.reformat(format="yuv420p", dst_colorspace=matrix.name)
                container.mux(stream.encode(picture))
        container.mux(stream.encode())


def _rate(fps: float) -> Fraction:
    """Frames a second as a fraction."""
    if not isinstance(fps, Real) or not 0 < fps < float("inf"):
        raise ValueError(f"fps={fps!r} must be a number above 0")
    return max(Fraction(float(fps)).limit_denominator(1000), Fraction(1, 1000))


def _checked(path: Path, pieces: "Iterable[Tensor]") -> "Iterator[Tensor]":
    """The pieces that hold frames, each of which can follow the one before."""
    import torch

    from longtake.finite import check_finite

    if not isinstance(pieces, Iterable):
        raise ValueError(f"{path}: {type(pieces).__name__} is no video: give tensors 3 f h w, one after the other")
    size, count = None, 0
    for piece in [pieces] if isinstance(pieces, torch.Tensor) and pieces.ndim == 4 else pieces:
        if not isinstance(piece, torch.Tensor) or piece.ndim != 4 or piece.shape[0] != 3:
            found = tuple(piece.shape) if hasattr(piece, "shape") else type(piece).__name__
            raise ValueError(f"{path}: a piece of a video is {found}: give tensors 3 f h w")
        if not piece.is_floating_point():
            raise ValueError(f"{path}: pixels are {piece.dtype}: give them in [-1, 1], such as `pixels / 127.5 - 1`")
        size = size or piece.shape[2:]
        if piece.shape[2:] != size or size[0] % 2 or size[1] % 2 or not min(size):
            raise ValueError(
                f"{path}: frames are {piece.shape[2]} x {piece.shape[3]} pixels: height and width must be even, and "
                "the same in all pieces of a video"
            )
        count += piece.shape[1]
        if piece.shape[1]:
            check_finite(piece, f"{path}: a piece of the video", "it would be black there")
            yield piece
    if not count:
        raise ValueError(f"{path}: a video without frames cannot be written")


def _tag(context: Any, colours: _Matrix) -> None:
    """Writes into the stream how its colours are meant; the range is that of television."""
    context.colorspace, context.color_primaries = colours.matrix, colours.primaries
    context.color_trc, context.color_range = colours.transfer, 1
