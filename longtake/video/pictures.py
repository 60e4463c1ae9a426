"""From a decoded picture to pixels as players show them: upright, with square pixels, over black, in ordinary colours.

Axes: h height, w width, c channels (RGB); uint8 in [0, 255].
"""

import threading
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Frames: TypeAlias = npt.NDArray[Any]

HDR = (16, 18)
"""The transfer functions of HDR in FFmpeg's numbers: PQ (SMPTE ST 2084) and HLG (ARIB STD-B67)."""
_MAPPING = threading.Lock()
MOST_PIXEL_WIDTH = 16.0
"""Of a coded pixel over its height, or the inverse; what is wider was never meant."""
MOST_SCALED = 64
"""How much larger than the frame that is asked for a picture may become before it is cut to it."""
UNSPECIFIED = 2


def is_hdr(stream: Any, frame: Any) -> bool:
    """Whether brightness is coded for HDR, as the stream or its first picture says."""
    return stream.codec_context.color_trc in HDR or getattr(frame, "color_trc", None) in HDR


def pixel_width_of(stream: Any) -> float:
    """Width of a stream's coded pixels over their height; 1 where it says nothing that can be meant."""
    said = float(stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio or 1)
    return said if 1 / MOST_PIXEL_WIDTH <= said <= MOST_PIXEL_WIDTH else 1.0


def shown_size(frame: Any, pixel_width: float) -> tuple[int, int]:
    """Height and width as shown: pixels are made square by enlarging, and the picture stands upright."""
    height, width = _square(frame, pixel_width)
    lies, _, _ = _orientation(frame)
    size = max(round(height), 1), max(round(width), 1)
    return size[::-1] if lies else size


class Pictures:
    """Makes every frame of a film one size: scaled until it covers height x width, then cut."""

    def __init__(self, *, height: int, width: int, crop_place: float, pixel_width: float, is_hdr: bool) -> None:
        """crop_place: in [0, 1], where along the side that is too long the cut lies; 0.5 is the centre.

        pixel_width: of a coded pixel over its height; is_hdr: whether tones are to be mapped.
        """
        from av.video.reformatter import VideoReformatter

        self.height, self.width, self.crop_place, self.pixel_width = height, width, crop_place, pixel_width
        self._reformat: Any = VideoReformatter().reformat
        self.is_hdr, self.shows_hdr_grey = is_hdr, False

    def __call__(self, frame: Any) -> Frames:
        """One frame: h w c.

        Args:
            frame: a decoded picture of PyAV.

        Returns:
            Pixels h w c in uint8.

        Raises:
            ValueError: if it is so long and narrow that covering the size would take more memory than is sane.
        """
        lies, flips_rows, flips_columns = _orientation(frame)
        tall, wide = (self.width, self.height) if lies else (self.height, self.width)  # as the file lies
        height, width = _square(frame, self.pixel_width)
        scale = max(tall / height, wide / width)
        covering = max(round(height * scale), tall), max(round(width * scale), wide)
        if covering[0] * covering[1] > MOST_SCALED * max(tall * wide, 4096):
            raise ValueError(
                f"a picture of {frame.width} x {frame.height} cannot be cut to {self.width} x {self.height}"
            )
        picture = self._scaled(frame, *covering)
        if lies:
            picture = picture.transpose(1, 0, 2)
        picture = picture[:: -1 if flips_rows else 1, :: -1 if flips_columns else 1]
        top, left = (
            round((picture.shape[i] - side) * self.crop_place) for i, side in enumerate((self.height, self.width))
        )
        return picture[top : top + self.height, left : left + self.width]

    def _scaled(self, frame: Any, height: int, width: int) -> Frames:
        import av
        from av.video.reformatter import Interpolation

        if self.is_hdr and not self.shows_hdr_grey:
            try:
                return self._tone_mapped(frame, height, width)
            except av.FFmpegError:  # before FFmpeg 8.0
                self.shows_hdr_grey = True
        if _has_alpha(frame):
            frame = _over_black(frame)
        matrix = "ITU709" if _is_high(frame) and frame.colorspace == UNSPECIFIED else None
        scaled = self._reformat(frame, width, height, "rgb24", src_colorspace=matrix, interpolation=Interpolation.AREA)
        return scaled.to_ndarray()

    def _tone_mapped(self, frame: Any, height: int, width: int) -> Frames:
        colours = (frame.colorspace, frame.color_trc, frame.color_primaries, frame.color_range)
        with _MAPPING:  # threads may decode films side by side
            mapper = _tone_mapper(frame.width, frame.height, frame.format.name, height, width, colours)
            mapper.vpush(frame)
            return mapper.vpull().to_ndarray()


@lru_cache(maxsize=8)
def _tone_mapper(
    from_width: int, from_height: int, kind: str, height: int, width: int, colours: tuple[int, ...]
) -> Any:
    """HDR to BT.709 by FFmpeg's `scale`: white of 203 cd/m² becomes white, and what is brighter is cut off there.

    Its first frame computes a table for seconds, so films of one size and one transfer function share it. Source: ITU-R
    BT.2408 for the white; our choice to cut, so that faces and walls keep the brightness that they have in ordinary
    films.

    kind: of the frames; height, width: of what is made; colours: matrix, transfer function, primaries and range, in
    FFmpeg's numbers, which the frames bring themselves.
    """
    import av.filter
    from av.video.format import VideoFormat

    graph = av.filter.Graph()
    shape = VideoFormat(kind, from_width, from_height)
    source = graph.add_buffer(width=from_width, height=from_height, format=shape, time_base=Fraction(1, 1000))
    mapped = "flags=area:out_transfer=bt709:out_primaries=bt709:out_color_matrix=bt709"
    scale = graph.add("scale", f"w={width}:h={height}:{mapped}")
    graph.link_nodes(source, scale, graph.add("format", "rgb24"), graph.add("buffersink")).configure()
    return graph


def _square(frame: Any, pixel_width: float) -> tuple[float, float]:
    """Height and width of a coded picture with square pixels."""
    return frame.height / min(pixel_width, 1.0), frame.width * max(pixel_width, 1.0)


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """Whether a picture is to be transposed, and then whether its rows and its columns are to be reversed.

    The display matrix maps x to ax + cy and y to bx + dy, y downwards; the nearest of its eight upright places is
    taken. Source: ISO/IEC 14496-12, 6.2.2.
    """
    said = frame.side_data.get("DISPLAYMATRIX")
    if said is None:
        return False, False, False
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(said), np.int32)[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, d < 0, a < 0
    return True, b < 0, c < 0


def _has_alpha(frame: Any) -> bool:
    return frame.format.has_palette or any(component.is_alpha for component in frame.format.components)


def _over_black(frame: Any) -> Any:
    """A picture with alpha as it looks on a black ground."""
    import av

    rgba = frame.to_ndarray(format="rgba").astype(np.uint16)
    seen = ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
    return av.VideoFrame.from_ndarray(seen, format="rgb24")


def _is_high(frame: Any) -> bool:
    """Whether a picture that does not say its colours is taken for BT.709, as players do (mpv's rule)."""
    return is_high(frame.height, frame.width) and not frame.format.is_rgb


def is_high(height: int, width: int) -> bool:
    """Whether a film of this size has BT.709's colours unless it says otherwise."""
    return width >= 1280 or height > 576
