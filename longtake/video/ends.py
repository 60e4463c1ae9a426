"""Whether a file's bytes end before the file says that they do: half a download decodes without an error.

Each container says its length in its own way; what says none is taken as it is. Sources: ISO/IEC 14496-12 (boxes),
RFC 8794 and 9559 (EBML, Matroska), the RIFF, ASF, FLV, GIF89a and PNG specifications, RFC 3533 (Ogg), ISO/IEC 13818-1
(TS and PS), SMPTE 377M (MXF).
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

Reader = BinaryIO


def ends_early(path: Path, kind: str = "") -> str:
    """What a file lacks, as the end of a sentence; "" where it is whole or does not say.

    kind: the name that FFmpeg gives its container; "" where it could not be opened: its first bytes say it.
    """
    if path.stat().st_size == 0:
        return "it holds 0 bytes"
    kind = kind or _kind_of(path)
    names = kind.split(",")
    rule = next((rule for name, rule in _RULES.items() if name in names), None)
    if rule is None:
        return ""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        try:
            return rule(file, size)
        except (struct.error, IndexError):  # a header that is cut through
            return "its bytes end within a header"


def _kind_of(path: Path) -> str:
    """The container that a file's first bytes name."""
    with path.open("rb") as file:
        head = file.read(16)
    marks = {b"ftyp": "mov", b"moov": "mov", b"mdat": "mov", b"wide": "mov", b"AVI ": "avi"}
    starts = {
        b"\x1a\x45\xdf\xa3": "matroska",
        b"FLV": "flv",
        b"GIF8": "gif",
        b"OggS": "ogg",
        b"\x30\x26\xb2\x75": "asf",
    }
    named = marks.get(head[4:8]) or marks.get(head[8:12])
    return named or next((kind for start, kind in starts.items() if head.startswith(start)), "")


def _missing(end: int, size: int) -> str:
    return f"{end - size:,} bytes are missing of {end:,}" if end > size else ""


def _boxes(file: Reader, size: int) -> str:
    """ISO media: every box at the top says its size; 0 means to the end of the file."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        if not kind.isascii() or not kind.strip(b"\0 ").replace(b"_", b"").isalnum():
            return ""  # what some programs leave behind the last box
        if length == 1:
            length = struct.unpack(">Q", file.read(8))[0]
        if length == 0 or length < 8:
            return ""
        at += length
    return _missing(at, size)


def _ebml(file: Reader, size: int) -> str:
    """Matroska and WebM: the segment says its size, or where it was written live, its clusters do."""
    at = 0
    while at < size:
        kind, length, begin = _element(file, at, size)
        if kind == 0x18538067 and length is None:  # a live segment: look at what it holds
            at = begin
        elif length is None:  # a live cluster: its blocks end where they end
            return ""
        else:
            at = begin + length
            if kind == 0x18538067:
                return _missing(at, size)
    return _missing(at, size)


def _element(file: Reader, at: int, size: int) -> tuple[int, int | None, int]:
    """An element's kind, its length or None, and where its content begins."""
    file.seek(at)
    head = file.read(12)
    width = 9 - head[0].bit_length()
    kind = int.from_bytes(head[:width], "big")
    first = head[width]
    more = 9 - first.bit_length()
    length = int.from_bytes(head[width : width + more], "big") & ((1 << 7 * more) - 1)
    return kind, None if length == (1 << 7 * more) - 1 else length, at + width + more


def _riff(file: Reader, size: int) -> str:
    """AVI and WebP: RIFF chunks one after the other, each with its size."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        kind, length = struct.unpack("<4sI", file.read(8))
        if kind not in (b"RIFF", b"JUNK") or length in (0, 0xFFFFFFFF):
            return ""
        at += 8 + length + length % 2
    return _missing(at - 1, size)  # the last byte may be the padding of an odd chunk


def _gif(file: Reader, size: int) -> str:
    """Blocks up to the trailer, a semicolon."""
    data = file.read()
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at < size and data[at] != 0x3B:
        if data[at] == 0x2C:
            packed = data[at + 9]
            at += 11 + (3 << (packed & 7) + 1 if packed & 0x80 else 0)
        elif data[at] == 0x21:
            at += 2
        else:  # not as the standard has it: players stop here as well
            return ""
        while at < size and data[at]:
            at += 1 + data[at]
        at += 1
    return "" if at < size else "its bytes end before the last picture is closed"


def _transport(file: Reader, size: int) -> str:
    """Packets of one size each; a file that stops within one was cut."""
    head = file.read(1024)
    for length, first in ((188, 0), (192, 4), (204, 0)):
        if all(head[at] == 0x47 for at in range(first, len(head) - 4, length)):
            return "its bytes end within a packet" if size % length else ""
    return ""


def _flash(file: Reader, size: int) -> str:
    """Tags, each with its size before and after it; the first one may say how many bytes and seconds there are."""
    head = file.read(4096)
    at, last, said = struct.unpack(">I", head[5:9])[0] + 4, 0, {b"duration": 0.0, b"filesize": 0.0}
    for name in said:
        if (named := head.find(b"\x00\x08" + name + b"\x00")) > 0:
            said[name] = struct.unpack(">d", head[named + 11 : named + 19])[0]
    if said[b"filesize"] > size:
        return _missing(round(min(said[b"filesize"], 1e18)), size)
    seconds = said[b"duration"]
    while at + 11 <= size:
        file.seek(at)
        tag = file.read(11)
        if tag[0] & 0x1F not in (8, 9, 18):
            return ""
        last = max(last, int.from_bytes(tag[4:7], "big") | tag[7] << 24)
        at += 15 + int.from_bytes(tag[1:4], "big")
    if at > size:
        return "its bytes end within a tag"
    return f"it ends at {last / 1000:.1f} of {seconds:.1f} seconds" if last / 1000 < seconds - 1.5 else ""


def _asf(file: Reader, size: int) -> str:
    """The header's file properties hold the size, unless it was a broadcast."""
    head = file.read(1 << 16)
    at = head.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"))
    if at < 0:
        return ""
    promised, flags = struct.unpack("<Q", head[at + 40 : at + 48])[0], struct.unpack("<I", head[at + 88 : at + 92])[0]
    return "" if flags & 1 else _missing(promised, size)


def _ogg(file: Reader, size: int) -> str:
    """The last page is whole and marked as the end of its stream."""
    file.seek(max(size - (1 << 17), 0))
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return "its bytes end within a page"
    segments = tail[page + 27 : page + 27 + tail[page + 26]]
    is_whole = len(segments) == tail[page + 26] and page + 27 + len(segments) + sum(segments) <= len(tail)
    if not is_whole:
        return "its bytes end within a page"
    return "" if tail[page + 5] & 4 else "its last page is not the end of a stream"


def _png(file: Reader, size: int) -> str:
    """Chunks up to IEND."""
    at = 8
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        at += 12 + length
        if kind == b"IEND":
            return _missing(at, size)
    return "its bytes end before the picture is closed"


def _program(file: Reader, size: int) -> str:
    """MPEG program streams: packs and packets one after the other, most with their sizes."""
    at = 0
    while at + 14 <= size:
        file.seek(at)
        head = file.read(14)
        if head[:3] != b"\0\0\1" or head[3] < 0xB9:  # what stands between packets is for players to skip
            return ""
        if head[3] == 0xB9:
            return ""
        if head[3] == 0xBA:
            at += 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
        else:
            at += 6 + int.from_bytes(head[4:6], "big")
    return _missing(at, size)


def _material(file: Reader, size: int) -> str:
    """MXF: keys of 16 bytes, each with the length of its value, up to a footer."""
    at, key = 0, b""
    while at + 17 <= size:
        file.seek(at)
        head = file.read(25)
        key, first = head[:16], head[16]
        if key[:4] != b"\x06\x0e\x2b\x34":
            return ""
        more = first & 0x7F if first & 0x80 else 0
        at += 17 + more + (int.from_bytes(head[17 : 17 + more], "big") if more else first)
    return _missing(at, size) or ("" if at == size else "its bytes end within a header")


_RULES: dict[str, Callable[[Reader, int], str]] = {
    "mov": _boxes,
    "matroska": _ebml,
    "avi": _riff,
    "webp_anim": _riff,
    "webp_pipe": _riff,
    "gif": _gif,
    "mpegts": _transport,
    "mpeg": _program,
    "mxf": _material,
    "flv": _flash,
    "asf": _asf,
    "ogg": _ogg,
    "apng": _png,
    "png_pipe": _png,
}
