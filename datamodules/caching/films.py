"""One film into a shard: decoded and encoded piece by piece, in memory that depends on the piece and not on the film.

Axes: f frames, c channels, h height, w width.
"""

import hashlib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from datamodules.caching.ahead import ahead
from datamodules.caching.shards import ShardWriter
from longtake.video.places import shown
from networks.interfaces import Codec

Item = TypeVar("Item")

PIECE_PIXELS = 1 << 24
MOST_PIECE_FRAMES = 160
"""A piece has about so many pixels, and at most so many frames. Source: our choice: 40 frames at 480 x 832."""


def version_of_readers() -> str:
    """Films that one version could not read are tried again by another."""
    try:
        return version("longtake")
    except PackageNotFoundError:
        return "unknown"


class UnusableFilm(ValueError):
    """Why a film cannot be used; frames: how many it has, where it is only too short."""

    def __init__(self, reason: str, frames: int | None = None) -> None:
        super().__init__(reason)
        self.frames = frames


class FilmEncoder:
    """Encodes films into shards of one folder."""

    def __init__(
        self,
        *,
        folder: Path,
        codec: Codec | None,
        dtype: str,
        size: tuple[int, int],
        shortest: int,
        stream: Callable[[Path, float], Iterator[Any]],
    ) -> None:
        """codec: None keeps pixels; size: height and width; shortest: frames of a film that is long enough.

        stream: a film's path and the place of its crop to blocks of uint8 pixels f h w c.
        """
        self.codec, self.dtype = codec, getattr(torch, dtype)
        self.shortest, self.stream = shortest, stream
        self.factor = 1 if codec is None else codec.time_factor
        whole = min(max(PIECE_PIXELS // (size[0] * size[1]), 1), MOST_PIECE_FRAMES)
        self.piece_frames = max(whole // self.factor, 1) * self.factor
        self.writer = ShardWriter(folder)

    def add(self, path: Path, key: str, crop_place: float) -> None:
        """Encodes a film.

        Args:
            path: path of the film.
            key: hash of the film's bytes, which names it in the cache.
            crop_place: place in [0, 1] of the cut along the side that is too long; 0.5 is the centre.

        Raises:
            UnusableFilm: if it is too short or broken, which is remembered.
            OSError: if the disk is full.
        """
        try:
            pieces = self.pieces(path, crop_place)
            first = next(pieces)  # before anything is written
            with self.writer.member(key) as write, torch.inference_mode():
                for rows in self.encoded(_before(first, pieces)):
                    write(rows)
        except ValueError as error:
            reason = str(error).removeprefix(f"{shown(path)}: ")
            frames = error.frames if isinstance(error, UnusableFilm) else None
            if not _passes(error):
                self.writer.note({"key": key, "skip": reason, "frames": frames, "by": version_of_readers()})
            raise UnusableFilm(reason, frames) from error

    def pieces(self, path: Path, crop_place: float) -> Iterator[Tensor]:
        """A film's frames as a codec's stream takes them, uint8 f h w c; a last part of a latent frame is left out."""
        held: list[Tensor] = []
        wanted, count, total = self.piece_frames + 1, 0, 0
        for block in ahead(self.stream(path, crop_place)):
            held.append(torch.from_numpy(block))
            count, total = count + len(block), total + len(block)
            while count >= wanted:
                joined = torch.cat(held)
                yield joined[:wanted]
                held, count = [joined[wanted:]], count - wanted
                wanted = self.piece_frames
        if total < self.shortest:
            raise UnusableFilm(f"too short, {total} frames", total)
        first = total == count
        left = (count - first) // self.factor * self.factor + first
        if left:
            yield torch.cat(held)[:left]

    def encoded(self, pieces: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yields what is stored of a film, piece by piece, f c h w; pieces: its pixels f h w c, uint8.

        Args:
            pieces: pixels f h w c in uint8, piece by piece.

        Yields:
            Latents or pixels f c h w, as they are stored.

        Raises:
            ValueError: if the codec gives no numbers.
        """
        if self.codec is None:
            yield from (piece.permute(0, 3, 1, 2).contiguous() for piece in pieces)
            return
        device = device_of(self.codec)
        pixels = (piece.to(device).permute(3, 0, 1, 2)[None].float() / 127.5 - 1 for piece in pieces)
        for latents in self.codec.encode_stream(pixels):
            stored = latents[0].transpose(0, 1).to(self.dtype).cpu().contiguous()
            if not bool(torch.isfinite(stored).all()):
                kind = str(self.dtype).removeprefix("torch.")
                raise ValueError(f"the codec gives NaN or values beyond datamodule.cache_dtype={kind} for it")
            yield stored


def crop_place_of(key: str, crop: str) -> float:
    """Where a film is cut: in the middle, or at a place of its own that is the same every time."""
    if crop == "centre":
        return 0.5
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF


def device_of(codec: object) -> torch.device:
    """The device of a codec's weights; the CPU for a codec without weights."""
    parameters = codec.parameters() if isinstance(codec, torch.nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def _before(first: Item, others: Iterator[Item]) -> Iterator[Item]:
    yield first
    yield from others


def _passes(error: ValueError) -> bool:
    """Whether the fault may be gone the next time: the system's, and not the film's."""
    cause = error.__cause__
    return isinstance(cause, MemoryError) or (
        isinstance(cause, OSError) and not type(cause).__module__.startswith("av")
    )
