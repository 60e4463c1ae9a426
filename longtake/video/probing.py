"""What a film is as players show it: its size, rate, pictures and time, and which of a file's streams it is."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from longtake.video.ends import ends_early
from longtake.video.pictures import is_hdr, pixel_width_of, shown_size
from longtake.video.places import local_file, shown

log = logging.getLogger("longtake")

NO_FILM = 0x400 | 0x800 | 0x80000 | 0x100000
"""FFmpeg's dispositions of what is no film: cover art, timed thumbnails, layers of other pictures, stills."""
FORMATS = (
    *("mov", "matroska", "avi", "gif", "apng", "mpegts", "mpeg", "mpegvideo", "flv", "asf", "ogg", "mxf", "nut", "m4v"),
    *("dv", "ivf", "h264", "hevc", "obu", "mjpeg", "yuv4mpegpipe", "png_pipe", "jpeg_pipe", "webp_pipe", "webp_anim"),
)
"""Containers that are read, by FFmpeg's names. A playlist is none: it would have any other file read in its place."""
JUMPS = ("mpegts", "mpeg")
"""Containers whose clock may begin anew in the middle, as in recordings that were joined."""
LONGEST_STEP = 10.0
"""Seconds from one packet to the next above which the clock began anew. Source: FFmpeg's own limit."""
LONGEST_PICTURE = 3600.0
"""Seconds above which one picture is not shown, but the file's clock is wrong. Source: our choice."""
INTERLACED = "interlaced: its moving edges look like combs; deinterlace it, as by ffmpeg -vf bwdif"
NAMED = 10
"""Files that are named one by one by each kind of warning."""
_warned: dict[str, set[str]] = defaultdict(set)


class Film(NamedTuple):
    """A film as it is shown.

    height, width: in pixels, upright and with square pixels; fps: frames a second, on average; num_frames: pictures
    that are shown, as the file counts them; seconds: from the first one until the last one's end; start: the first
    one's time on the file's clock, in seconds; stream: its number in the file; tick: what the file's clock counts by,
    in seconds; pixel_width: of a coded pixel over its height; times: seconds of each picture after the first, where
    the file's pictures bear none themselves; decoder: that shows its alpha, or "" for FFmpeg's choice; is_hdr: whether
    its tones have to be mapped.
    """

    height: int
    width: int
    fps: float
    num_frames: int
    seconds: float
    start: float
    stream: int
    tick: float
    pixel_width: float
    times: tuple[float, ...] | None
    decoder: str
    is_hdr: bool

    @property
    def slack(self) -> float:
        """By how many seconds a time may be rounded: half a tick, or half a millisecond where ticks are long."""
        return min(0.5 * self.tick, 5e-4) + 1e-6

    def count(self, fps: float) -> int:
        """How many frames reading gives at `fps` a second: one at every multiple of 1 / fps before the film's end."""
        return max(1, math.ceil((self.seconds - 3 * self.slack) * fps - 1e-6))


def probe(path: str | Path) -> Film:
    """Looks at a film: at all its packets, and at its first picture.

    Args:
        path: path of the file, or a text such as https://… or s3://….

    Returns:
        What is known of the film.

    Raises:
        ValueError: if there is no film, it cannot be decoded, or its bytes end before it says that they do.
    """
    with local_file(path) as file:
        return probe_local(file, shown(path))


def probe_local(path: Path, name: str) -> Film:
    """Looks at a film as `probe` does, for a file of this machine.

    Args:
        path: path of the file.
        name: what to call it in messages.

    Returns:
        As `probe`.

    Raises:
        ValueError: as `probe`.
    """
    with opened(path, name) as container:
        kind = container.format.name
        if lacking := ends_early(path, kind):
            raise _truncated(name, lacking)
        tracks = {stream.index: _Track(stream) for stream in container.streams}
        for packet in _packets(container, kind):
            tracks[packet.stream_index].add(packet)
        track = _main(list(tracks.values()), name)
        last = max(each.end for each in tracks.values())
        if lacking := _lacks_samples(track, path) or _lacks_seconds(container, kind, last):
            raise _truncated(name, lacking)
    if not track.times:
        raise ValueError(f"{name}: holds no frame")
    longest = max(then - now for now, then in pairwise([*sorted(track.times), track.end]))
    if longest > LONGEST_PICTURE:  # to repeat it at every frame's time would take hours and fill the disk
        raise ValueError(
            f"{name}: one picture would be shown for {longest:,.0f} seconds, so its clock is wrong; write it anew at a "
            "rate of your own, as by ffmpeg -r 25 -i FILM"
        )
    return _film(track, path, kind, name)


@contextmanager
def opened(path: Path, name: str) -> Iterator[Any]:
    """A file as PyAV's container; what FFmpeg has against it is one sentence.

    Args:
        path: path of a file of this machine.
        name: name of the file in messages.

    Yields:
        PyAV's container.

    Raises:
        ValueError: if it cannot be decoded. Memory that is refused is no fault of the file and stays a MemoryError.
    """
    import av

    try:
        # Titles and the like may be in any encoding: they are not ours to judge.
        known = {"format_whitelist": ",".join(FORMATS)}
        with av.open(str(path), metadata_errors="replace", container_options=known) as container:
            yield container
    except MemoryError:
        raise
    except (av.FFmpegError, OSError) as error:
        lacking = f", {lacks}" if (lacks := ends_early(path)) else ""
        raise ValueError(f"{name}: cannot be decoded ({type(error).__name__}){lacking}") from error


def continuous(packets: Iterable[Any], kind: str) -> Iterator[Any]:
    """Packets of a container, on one clock even where the file's begins anew; those that only flush are left out.

    kind: the name that FFmpeg gives the container.
    """
    offsets: dict[int, int] = {}
    due: dict[int, int] = {}
    for packet in packets:
        if packet.dts is None and packet.pts is None and not packet.size:
            continue
        if kind in JUMPS and packet.dts is not None:
            number = packet.stream_index
            step = packet.dts - offsets.get(number, 0) - due.get(number, packet.dts - offsets.get(number, 0))
            if abs(step) * packet.time_base > LONGEST_STEP:
                offsets[number] = offsets.get(number, 0) + step
            packet.dts -= offsets.get(number, 0)
            packet.pts = None if packet.pts is None else packet.pts - offsets.get(number, 0)
            due[number] = packet.dts + (packet.duration or 0)
        yield packet


def warn_of(path: str, what: str) -> None:
    """Names a file, once, that is read otherwise than it should be; each kind of warning names so many, no more."""
    named = _warned[what]
    if path in named or len(named) > NAMED:
        return
    named.add(path)
    log.warning(f"{path}: {what}" if len(named) <= NAMED else f"further films, not named one by one: {what}")


class _Track:
    """What the packets of one stream say: which time it spans, and which pictures it shows."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.index, self.tick = stream, stream.index, float(stream.time_base or 0) or 1.0
        is_video = stream.type == "video"
        self.rate = float(stream.average_rate or stream.guessed_rate or 0) if is_video else 0.0
        can_be_decoded = is_video and stream.codec_context is not None
        self.is_film = can_be_decoded and not stream.disposition.value & NO_FILM
        self.times: list[float] = []
        self.end, self.untimed = 0.0, 0.0
        self.is_timed = True

    def add(self, packet: Any) -> None:
        length = (packet.duration or 0) * self.tick or (1 / self.rate if self.rate else 0.0)
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None:
            self.is_timed = False
            time, self.untimed = self.untimed, self.untimed + length
        else:
            time = stamp * self.tick
        if not packet.is_discard:
            self.end = max(self.end, time + length)
            if packet.size:  # an empty one says that the picture before it is shown on
                self.times.append(time)

    @property
    def start(self) -> float:
        return min(self.times, default=self.end)


def _packets(container: Any, kind: str) -> Iterator[Any]:
    """All packets that there are; a file that breaks off within one ends there, and is judged by its end."""
    import av

    packets = continuous(container.demux(), kind)
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except av.error.InvalidDataError:
            return


def _truncated(name: str, lacking: str) -> ValueError:
    return ValueError(f"{name}: truncated, {lacking}; fetch or copy it again")


def _main(tracks: list[_Track], name: str) -> _Track:
    """The stream that is the film: of those about as long as the longest, the default one, then the largest.

    Raises:
        ValueError: if there is none.
    """
    films = [track for track in tracks if track.is_film]
    if not films:
        streams = [track.stream for track in tracks if track.stream.type == "video"]
        why = "no video stream" if not streams else "a still, such as a cover, but no film"
        if any(stream.codec_context is None for stream in streams):
            why = "a video that FFmpeg has no decoder for"
        raise ValueError(f"{name}: holds {why}")
    most = max(len(track.times) for track in films)
    films = [track for track in films if len(track.times) > 1] if most > 1 else films
    longest = max(track.end - track.start for track in films)
    films = [track for track in films if track.end - track.start >= longest / 2]
    return max(films, key=lambda track: (track.stream.disposition.value & 1, _area(track), len(track.times)))


def _area(track: _Track) -> int:
    return track.stream.codec_context.width * track.stream.codec_context.height


def _lacks_samples(track: _Track, path: Path) -> str:
    """Where an index says at which bytes pictures lie, whether the file reaches so far."""
    size = path.stat().st_size
    end = max((entry.pos + entry.size for entry in getattr(track.stream, "index_entries", ())), default=0)
    return f"{end - size:,} bytes are missing of {end:,}" if end > size else ""


def _lacks_seconds(container: Any, kind: str, last: float) -> str:
    """Where a header says how long all streams are, whether they are."""
    promised = (container.duration or 0) / 1e6
    says = kind.startswith("matroska")
    return f"it ends at {last:.1f} of {promised:.1f} seconds" if says and last < promised - 1.0 else ""


def _film(track: _Track, path: Path, kind: str, name: str) -> Film:
    with opened(path, name) as container:
        stream = container.streams[track.index]
        frame = _first_frame(container, stream, kind, name)
        pixel_width = pixel_width_of(stream)
        end = track.end
        if kind == "avi" and stream.duration:  # pictures that were dropped at the end are shown on
            end = max(end, stream.duration * track.tick)
        hidden = stream.metadata.get("alpha_mode") == "1"
        bright = is_hdr(stream, frame)
        decoder = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name, "") if hidden else ""
    if frame.interlaced_frame:
        warn_of(name, INTERLACED)
    seconds = end - track.start
    measured = len(track.times) / seconds if seconds > 0 else 0.0
    says = track.rate > 0 and (not measured or abs(track.rate / measured - 1) < 0.25)
    fps = track.rate if says else measured
    if fps <= 0:
        raise ValueError(f"{name}: does not say how many frames a second it has")
    # In an AVI no picture says when it is shown: they are shown in order, at the times that its chunks have.
    is_timed = track.is_timed and kind != "avi"
    times = None if is_timed else tuple(time - track.start for time in sorted(track.times))
    return Film(
        *shown_size(frame, pixel_width),
        fps=fps,
        num_frames=len(track.times),
        seconds=seconds or 1 / fps,
        start=track.start,
        stream=track.index,
        tick=track.tick,
        pixel_width=pixel_width,
        times=times,
        decoder=decoder,
        is_hdr=bright,
    )


def _first_frame(container: Any, stream: Any, kind: str, name: str) -> Any:
    import av

    refused: Exception | None = None
    for packet in continuous(container.demux(stream), kind):
        try:
            if frames := packet.decode():
                return frames[0]
        except av.error.InvalidDataError as error:  # what comes before the first whole picture
            refused = error
    if frames := stream.decode(None) if refused is None else []:
        return frames[0]
    raise ValueError(f"{name}: cannot be decoded ({type(refused).__name__ if refused else 'no frame'})") from refused
