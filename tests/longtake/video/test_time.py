"""Frames at the times at which players show them, of the film and not of what lies beside it, block by block."""

import io
import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import forked
import numpy as np
import pytest
from films import copied, film, grey, with_edit, with_edits

from longtake.storyboard.given import VideoProbe
from longtake.video import probe, read_frames, stream_frames

ROOT = Path(__file__).parents[3]


def levels(path, fps=0.0, **wanted):
    frames = read_frames(path, height=16, width=16, fps=fps, crop_place=0.5, **wanted)
    return [round(float(frame.mean()) / 10) for frame in frames]


def greys(*numbers):
    return [number % 25 for number in numbers]


def stripes(number, height, width):
    """A number of nine bits in stripes, which any codec keeps."""
    bits = np.array([255 * (number >> bit & 1) for bit in range(9)], np.uint8)
    return np.broadcast_to(bits.repeat(-(-width // 9))[:width, None], (height, width, 3)).copy()


def numbers(path, fps):
    frames = read_frames(path, height=72, width=72, fps=fps, crop_place=0.5)
    bits = frames[:, 36, 4::8, 0] > 128
    return (bits * (1 << np.arange(9))).sum(axis=1).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm", "avi", "ts", "flv", "wmv"])
@pytest.mark.parametrize("fps", [Fraction(35, 4), Fraction(24000, 1001), Fraction(30000, 1001), Fraction(16)])
def test_at_its_own_rate_every_frame_comes_once(tmp_path, ending, fps):
    """Clocks of milliseconds, and h264 in avi, whose chunks bear no times of their own."""
    codec = {"webm": "libvpx", "wmv": "wmv2"}.get(ending, "libx264")
    options = {"webm": {"deadline": "realtime", "cpu-used": "8"}, "wmv": {"qscale": "2"}}.get(ending, {"crf": "5"})
    path = film(tmp_path / f"a.{ending}", 120, codec=codec, fps=fps, size=(72, 72), picture=stripes, options=options)
    assert numbers(path, float(fps)) == list(range(120))
    assert VideoProbe(float(fps))(path).num_frames == 120
    assert probe(path).fps == pytest.approx(float(fps), rel=1e-3)


@pytest.mark.parametrize(("begin", "seconds"), [(0, 3.0), (2.5, 1.0), (0.3, 2.0), (5.0, 1.0)])
@pytest.mark.parametrize("keyframes", ["10", "250"])
def test_an_edit_list_shows_what_it_shows(tmp_path, begin, seconds, keyframes):
    path = film(tmp_path / "a.mp4", 60, options={"crf": "1", "g": keyframes, "bf": "0"})
    with_edit(path, begin, seconds)
    first, count = round(10 * begin), round(10 * seconds)
    assert levels(path) == levels(path, 10) == greys(*range(first, first + count))
    assert levels(path, 5) == greys(*range(first, first + count, 2))
    assert VideoProbe(10.0)(path).num_frames == probe(path).num_frames == count


@pytest.mark.parametrize("ending", ["mp4", "mov"])
@pytest.mark.parametrize(
    ("edits", "version", "shown"),
    [
        ([(1.0, 2.0)], 1, [range(10, 30)]),
        ([(0.5, 1.0), (3.0, 1.0)], 0, [range(5, 15), range(30, 40)]),
        ([(3.0, 1.0), (0.0, 1.0)], 0, [range(30, 40), range(10)]),
        ([(None, 1.0), (0.0, 2.0)], 0, [range(20)]),
        ([(None, 0.5), (4.1, 1.5)], 1, [range(41, 56)]),
    ],
)
def test_edit_lists_of_several_parts_and_of_64_bits(tmp_path, ending, edits, version, shown):
    path = film(tmp_path / f"a.{ending}", 60, options={"crf": "1", "g": "20", "bf": "0"})
    with_edits(path, *edits, version=version)
    numbers = [number for part in shown for number in part]
    assert levels(path) == levels(path, 10) == greys(*numbers)
    assert probe(path).num_frames == VideoProbe(10.0)(path).num_frames == len(numbers)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_frames_that_a_stream_copy_hides_are_hidden(tmp_path, ending):
    source = film(tmp_path / "whole.mp4", 40, options={"crf": "1", "g": "10", "bf": "0"})
    path = copied(source, tmp_path / f"cut.{ending}", from_time=0.6)
    assert levels(path) == levels(path, 10) == greys(*range(6, 40))


@pytest.mark.parametrize("ending", ["ts", "mkv", "flv", "mp4"])
def test_a_clock_that_starts_late_is_the_film_s_start(tmp_path, ending):
    source = film(tmp_path / "whole.mp4", 30)
    path = copied(source, tmp_path / f"late.{ending}", from_time=-7.0)
    assert levels(path, 10) == greys(*range(30))


def test_dropped_frames_are_shown_on(tmp_path):
    """An avi has an empty chunk for each; 10 to 13 are dropped, and the last one."""
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(24):
            packets = stream.encode(av.VideoFrame.from_ndarray(grey(number, 64, 64), format="rgb24"))
            container.mux([packet for packet in packets if number not in (10, 11, 12, 13)])
    assert levels(tmp_path / "a.avi", 10) == greys(*range(10), *[9] * 4, *range(14, 24))
    assert levels(tmp_path / "a.avi") == greys(*range(10), *range(14, 24))


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm", "ts", "flv", "wmv"])
def test_a_variable_rate_keeps_its_speed(tmp_path, ending):
    codec = {"webm": "libvpx", "wmv": "wmv2"}.get(ending, "libx264")
    times = [0.0, 0.1, 0.5, 0.6, 0.9, 1.0]
    path = film(tmp_path / f"a.{ending}", 6, codec=codec, times=times, tick=Fraction(1, 1000))
    assert levels(path, 10)[:10] == [0, 1, 1, 1, 1, 2, 3, 3, 3, 4]


def test_the_last_picture_lasts_as_long_as_it_says(tmp_path):
    from PIL import Image

    pictures = [Image.fromarray(grey(number, 64, 64)) for number in range(5)]
    lasting = [100, 100, 500, 100, 400]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=lasting)
    assert levels(tmp_path / "a.gif", 10) == [0, 1, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4]
    path = film(tmp_path / "a.mp4", 8)
    assert levels(path, 20) == [number // 2 for number in range(16)]


@pytest.mark.parametrize("times", [[0, 1, 2, 3_603], [0, 3_601, 3_602, 3_603]])
def test_a_clock_that_jumps_by_more_than_an_hour_is_wrong(tmp_path, times):
    path = film(tmp_path / "a.mkv", 4, times=times, tick=Fraction(1, 1000))
    with pytest.raises(ValueError, match=r"a\.mkv: one picture would be shown for 3,60\d seconds, .* ffmpeg -r 25"):
        read_frames(path, height=16, width=16, fps=8.75, crop_place=0.5)
    assert levels(film(tmp_path / "b.mkv", 4, times=[0, 1, 2, 3_590], tick=Fraction(1, 1000))) == greys(*range(4))


def test_recordings_that_were_joined_go_on(tmp_path):
    """Each has a clock of its own, which begins anew, an hour later or earlier."""
    source = film(tmp_path / "a.ts", 30)
    late = copied(source, tmp_path / "late.ts", from_time=-3600.0)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(late.read_bytes() + source.read_bytes() + late.read_bytes())
    frames = levels(joined, 10)
    assert len(frames) in range(89, 93)
    assert levels(joined) == greys(*range(30)) * 3


def beside(path, still, *, cover=False, still_first=True):
    """A film and a still in one file."""
    with av.open(str(path), "w") as container:
        streams = {}
        for name in ("still", "film") if still_first else ("film", "still"):
            streams[name] = container.add_stream("mjpeg" if name == "still" else "libx264", rate=10)
        pictures, video = streams["still"], streams["film"]
        pictures.height, pictures.width, pictures.pix_fmt = *still, "yuvj420p"
        video.height, video.width, video.pix_fmt, video.options = 64, 64, "yuv420p", {"crf": "1", "bf": "0"}
        if cover:
            pictures.disposition = av.stream.Disposition.attached_pic
        white = np.full((*still, 3), 255, np.uint8)
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(white, format="rgb24")))
        container.mux(pictures.encode())
        for number in range(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey(number, 64, 64), format="rgb24")))
        container.mux(video.encode())
    return path


@pytest.mark.parametrize("still_first", [True, False])
@pytest.mark.parametrize(("name", "cover"), [("a.mp4", True), ("a.mp4", False), ("a.mkv", False), ("a.mov", False)])
@pytest.mark.parametrize("still", [(32, 32), (256, 256)])
def test_the_film_is_read_and_not_the_picture_beside_it(tmp_path, name, cover, still, still_first):
    path = beside(tmp_path / name, still, cover=cover, still_first=still_first)
    assert levels(path) == levels(path, 10) == greys(*range(20))
    assert probe(path)[:3] == (64, 64, 10)


def test_a_cover_listed_before_the_film_is_no_film(tmp_path):
    """As music players and phones write it: the box of the cover comes before the film's."""
    path = beside(tmp_path / "a.mp4", (32, 32), cover=True)
    data, boxes, at = path.read_bytes(), [], 0
    while at < len(data):
        size = struct.unpack(">I", data[at : at + 4])[0]
        boxes.append((data[at + 4 : at + 8], data[at : at + size]))
        at += size
    moov, inner, at = next(box for kind, box in boxes if kind == b"moov"), [], 8
    while at < len(moov):
        size = struct.unpack(">I", moov[at : at + 4])[0]
        inner.append((moov[at + 4 : at + 8], moov[at : at + size]))
        at += size
    inner.sort(key=lambda box: {b"mvhd": 0, b"udta": 1}.get(box[0], 2))
    moov = b"".join(box for _, box in inner)
    moov = struct.pack(">I", len(moov) + 8) + b"moov" + moov
    path.write_bytes(b"".join(moov if kind == b"moov" else box for kind, box in boxes))
    assert levels(path) == greys(*range(20))


@pytest.mark.parametrize("mimetype", ["image/jpeg", "image/png"])
def test_a_cover_attached_to_a_matroska_is_no_film(tmp_path, mimetype):
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (600, 600), (255, 255, 255)).save(data, mimetype.partition("/")[2])
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.height, video.width, video.pix_fmt, video.options = 64, 64, "yuv420p", {"crf": "1", "bf": "0"}
        container.add_attachment("cover", mimetype, data.getvalue())
        for number in range(20):
            container.mux(video.encode(av.VideoFrame.from_ndarray(grey(number, 64, 64), format="rgb24")))
        container.mux(video.encode())
    assert levels(tmp_path / "a.mkv") == greys(*range(20))
    assert probe(tmp_path / "a.mkv")[:3] == (64, 64, 10)


ONE = {
    **{name: {} for name in ("a.mp4", "a.mov", "a.mkv", "a.ts", "a.flv")},
    "a.webm": {"codec": "libvpx"},
    "a.avi": {"codec": "mpeg4"},
    "a.gif": {"codec": "gif", "pix": "rgb8"},
    "a.ogv": {"codec": "libvpx", "format": "ogg"},
    "a.apng": {"codec": "apng", "pix": "rgb24"},
}


@pytest.mark.parametrize("name", ONE)
def test_a_film_of_one_frame_has_one(tmp_path, name):
    path = film(tmp_path / name, 1, **ONE[name])
    assert levels(path) == levels(path, 10) == [0]
    assert (probe(path).num_frames, VideoProbe(10.0)(path).num_frames) == (1, 1)


def test_music_with_a_cover_is_no_film(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound, still = container.add_stream("aac", rate=8000), container.add_stream("mjpeg", rate=10)
        still.height, still.width, still.pix_fmt = 32, 32, "yuvj420p"
        still.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
        container.mux(still.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(still.encode())
    with pytest.raises(ValueError, match=r"a\.mp4: holds a still, such as a cover, but no film"):
        levels(tmp_path / "a.mp4")


# Block by block


def test_blocks_are_the_film(tmp_path):
    path = film(tmp_path / "a.mp4", 30)
    whole = read_frames(path, height=16, width=24, fps=7, crop_place=0.2)
    for size in (1, 4, 7, 100):
        blocks = list(stream_frames(path, height=16, width=24, fps=7, crop_place=0.2, block_frames=size))
        assert all(len(block) == size for block in blocks[:-1])
        assert np.array_equal(np.concatenate(blocks), whole)
    part = read_frames(path, height=16, width=24, fps=7, crop_place=0.2, first=5, num_frames=6)
    assert np.array_equal(part, whole[5:11])
    assert levels(path, frame_stride=4, first=2, num_frames=3) == [8, 12, 16]


def test_a_reader_may_stop_early(tmp_path):
    path = film(tmp_path / "a.mp4", 30)
    blocks = stream_frames(path, height=16, width=16, block_frames=4)
    assert len(next(blocks)) == 4
    blocks.close()
    path.unlink()


def test_want_of_memory_is_no_fault_of_the_film(tmp_path, monkeypatch):
    path = film(tmp_path / "a.mp4", 10)

    def refuse(*_, **__):
        raise av.error.MemoryError(12, "Cannot allocate memory")

    monkeypatch.setattr("longtake.video.decoding._decoded", refuse)
    with pytest.raises(MemoryError):
        levels(path)


READ = """
import sys
from longtake.process import peak_resident_gib
from longtake.video import stream_frames
before = peak_resident_gib()
blocks = stream_frames(sys.argv[1], height=240, width=416, fps=2)
print(sum(len(block) for block in blocks), int(1024 * (peak_resident_gib() - before)))
"""


@pytest.mark.slow
def test_an_hour_of_film_fits_into_a_fixed_memory(tmp_path):
    """240 x 416 at four a second: one minute is coded, and its packets are written sixty times."""
    wall = np.random.default_rng(0).integers(0, 255, (15, 26, 3)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
    options = {"preset": "ultrafast", "crf": "30", "g": "240", "bf": "0"}
    minute = film(tmp_path / "minute.mp4", 240, fps=4, size=(240, 416), picture=lambda *_: wall, options=options)
    with av.open(str(minute)) as source, av.open(str(tmp_path / "hour.mp4"), "w") as hour:
        video = source.streams.video[0]
        stream, step = hour.add_stream_from_template(video), round(60 / video.time_base)
        packets = [packet for packet in source.demux(video) if packet.dts is not None]
        for number in range(60):
            for packet in packets:
                new = av.Packet(bytes(packet))
                new.pts, new.dts = packet.pts + number * step, packet.dts + number * step
                new.duration, new.time_base, new.stream = packet.duration, video.time_base, stream
                new.is_keyframe = packet.is_keyframe
                hour.mux(new)
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = forked.run(["-c", READ, tmp_path / "hour.mp4"], cwd=tmp_path, env=own)
    count, mebibytes = map(int, done.stdout.split())
    assert count == 7200
    assert mebibytes < 200  # of 2,057 that its frames have
