"""Films of any kind, written small: greys that count, and the faults that other people's files have."""

import struct

import av
import numpy as np

PLAIN = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
TUNED = {"libx264": {"crf": "1", "g": "10"}, "libx265": {"x265-params": "log-level=none:crf=4"}}


def grey(number, height, width):
    """Frame f is grey of level 10 (f mod 25)."""
    return np.full((height, width, 3), 10 * (number % 25), np.uint8)


def film(path, count=30, *, codec="libx264", pix="yuv420p", fps=10, size=(64, 64), picture=grey, times=None, **kinds):
    """A film of `count` pictures h w c; times: seconds of each; kinds: options, container_options, format, sar."""
    container_options = {key: str(value) for key, value in kinds.get("container_options", {}).items()}
    with av.open(str(path), "w", format=kinds.get("format"), options=container_options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = *size, pix
        stream.options = kinds.get("options", TUNED.get(codec, {}))
        if "sar" in kinds:
            stream.codec_context.sample_aspect_ratio = kinds["sar"]
        if times is not None:
            stream.codec_context.time_base = kinds.get("tick", 1 / av.time_base)
        for number in range(count):
            pixels = picture(number, *size)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgba" if pixels.shape[2] == 4 else "rgb24")
            frame = frame.reformat(format=pix) if pixels.shape[2] == 4 else frame
            if times is not None:
                frame.time_base = stream.codec_context.time_base
                frame.pts = round(times[number] / frame.time_base)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut(path, share):
    """The first part of a file's bytes, as a broken-off download leaves it."""
    data = path.read_bytes()
    part = path.with_name(f"cut_{path.name}")
    part.write_bytes(data[: int(len(data) * share)])
    return part


def with_matrix(path, a, b, c, d):
    """The same film with another display matrix, which maps x to ax + cy and y to bx + dy, y downwards."""
    data = path.read_bytes()
    at = data.index(PLAIN, data.index(b"tkhd"))
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + matrix + data[at + 36 :])
    return path


def with_edit(path, begin, seconds):
    """The same mp4, of which an edit list shows so many seconds from `begin` on."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst")
    movie = struct.unpack(">I", data[data.index(b"mvhd") + 16 : data.index(b"mvhd") + 20])[0]
    track = struct.unpack(">I", data[data.index(b"mdhd") + 16 : data.index(b"mdhd") + 20])[0]
    before = struct.unpack(">i", data[at + 16 : at + 20])[0]
    data[at + 12 : at + 20] = struct.pack(">Ii", round(seconds * movie), before + round(begin * track))
    path.write_bytes(data)
    return path


def with_edits(path, *edits, version=0):
    """The same film with an edit list of (begin, seconds); begin None: nothing is shown for so long."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") - 4
    size = struct.unpack(">I", data[at : at + 4])[0]
    movie = struct.unpack(">I", data[data.index(b"mvhd") + 16 : data.index(b"mvhd") + 20])[0]
    track = struct.unpack(">I", data[data.index(b"mdhd") + 16 : data.index(b"mdhd") + 20])[0]
    before = struct.unpack(">i", data[at + 20 : at + 24])[0]
    kinds = ">IiHH" if version == 0 else ">QqHH"
    times = [
        (round(seconds * movie), -1 if begin is None else before + round(begin * track)) for begin, seconds in edits
    ]
    rows = b"".join(struct.pack(kinds, *each, 1, 0) for each in times)
    new = struct.pack(">I4sII", 16 + len(rows), b"elst", version << 24, len(edits)) + rows
    for box in (b"moov", b"trak", b"edts"):
        begin = data.index(box) - 4
        data[begin : begin + 4] = struct.pack(">I", struct.unpack(">I", data[begin : begin + 4])[0] + len(new) - size)
    data[at : at + size] = new
    path.write_bytes(data)
    return path


def copied(source, target, *, from_time=0.0, **options):
    """A film's packets in another container, coded as they are, with their clock set back by from_time seconds."""
    with av.open(str(source)) as old, av.open(str(target), "w", options=options) as new:
        video = old.streams.video[0]
        stream, shift = new.add_stream_from_template(video), round(from_time / video.time_base)
        for packet in old.demux(video):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                new.mux(packet)
    return target
