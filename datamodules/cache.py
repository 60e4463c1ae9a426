"""The clip cache: every video is decoded and encoded once, so that training reads small files and decodes nothing.

One safetensors file a video, written and then renamed, so that a killed run continues where it was. A causal codec
gives the first frame of whatever it encodes a latent of its own kind, so every clip is encoded by itself.
Axes: k clips, c channels, f frames, h height, w width.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from datamodules.tables import Entry
from longtake.video import Frames, read_frames
from networks.files import remove_unfinished, whole, write_text
from networks.interfaces import Codec

log = logging.getLogger("longtake")

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "uint8": torch.uint8}


_FRAMES_AT_ONCE = 160
"""Short clips of one video are encoded together, up to so many pixel frames."""


class ClipSettings(NamedTuple):
    """What a cached clip is: any other value is another cache.

    fps: frames a second, taken by their time; num_frames: pixel frames of each length, rising; hop_frames: distance of
    clips' starts; crop: centre or random; frame_stride: every how many of a file's frames are kept instead, or None.
    """

    height: int
    width: int
    fps: float
    num_frames: tuple[int, ...]
    hop_frames: int
    crop: str
    dtype: str
    frame_stride: int | None = None

    def read(self, path: str | Path, crop_place: float) -> Frames:
        """A whole video as these settings see it, as `read_frames` gives it."""
        by_time = self.frame_stride is None
        return read_frames(
            path,
            height=self.height,
            width=self.width,
            fps=self.fps if by_time else 0,
            crop_place=crop_place,
            frame_stride=self.frame_stride or 1,
        )


class Clip(NamedTuple):
    """One clip in the cache: its video's entry, file, number in the file, first frame in the video, and length."""

    entry: Entry
    file: Path
    number: int
    start: int
    num_frames: int


class ClipCache:
    """Clips of a list of videos under one folder, by codec and settings."""

    def __init__(self, *, folder: str | Path, settings: ClipSettings, codec: Codec | None) -> None:
        """folder: of all caches; codec: None keeps pixels as uint8.

        Raises:
            ValueError: if the type is unknown, or does not suit pixels or latents.
        """
        if settings.dtype not in DTYPES or (settings.dtype == "uint8") != (codec is None):
            raise ValueError(
                f"datamodule.cache_dtype={settings.dtype}: use uint8 for pixels, "
                "and float16, bfloat16 or float32 for latents"
            )
        self.codec = codec
        self.settings = settings
        kept = settings if settings.frame_stride is not None else settings[:-1]
        described = json.dumps([*kept, "pixels" if codec is None else codec.fingerprint])
        self.folder = Path(folder) / hashlib.sha256(described.encode()).hexdigest()[:12]
        self.described = described

    def file_of(self, entry: Entry) -> Path:
        """Where a video's clips are kept; a file that was changed is another video."""
        status = entry.path.stat() if entry.path.is_file() else None
        identity = f"{entry.path.absolute()}:{status.st_size if status else 0}:{status.st_mtime_ns if status else 0}"
        return self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:20]}.safetensors"

    def starts(self, num_frames: int) -> list[tuple[int, int]]:
        """(first frame, length) of every clip of a video: the longest length, or where the video is shorter than
        that, the longest it holds.
        """
        fitting = [length for length in self.settings.num_frames if length <= num_frames]
        if not fitting:
            return []
        return [(start, fitting[-1]) for start in range(0, num_frames - fitting[-1] + 1, self.settings.hop_frames)]

    def fill(self, entries: Sequence[Entry], on_video: Callable[[], None]) -> None:
        """Encodes what is missing; broken videos are named in skipped.json and in one warning, and passed over."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.folder)
        write_text(self.folder / "settings.json", self.described + "\n")
        skipped = {}
        for entry in entries:
            path = self.file_of(entry)
            if self._length(path) is None:
                try:
                    self._make(entry, path)
                except ValueError as error:
                    skipped[str(entry.path)] = str(error)
            on_video()
        write_text(self.folder / "skipped.json", json.dumps(skipped, indent=1) + "\n")
        if skipped:
            first = next(iter(skipped.values()))
            log.warning(
                f"{len(skipped)} of {len(entries)} videos are skipped, see {self.folder / 'skipped.json'}; {first}"
            )

    def _make(self, entry: Entry, path: Path) -> None:
        settings = self.settings
        place = 0.5
        if settings.crop == "random":
            place = int(hashlib.sha256(str(entry.path).encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
        pixels = torch.from_numpy(settings.read(entry.path, place)).permute(3, 0, 1, 2)
        starts = self.starts(pixels.shape[1])
        if not starts:
            stride = settings.frame_stride
            taken = f"at {settings.fps:g} a second" if stride is None else f"at frame_stride={stride}"
            raise ValueError(
                f"{entry.path}: too short, {pixels.shape[1]} frames {taken}, "
                f"the shortest clip has {settings.num_frames[0]}"
            )
        length = starts[0][1]
        at_once = max(_FRAMES_AT_ONCE // length, 1)
        groups = [starts[i : i + at_once] for i in range(0, len(starts), at_once)]
        try:
            clips = [self._encode(torch.stack([pixels[:, s : s + length] for s, _ in group])) for group in groups]
        except ValueError as error:
            raise ValueError(f"{entry.path}: {error}") from error
        _save(
            path,
            {"clips": torch.cat(clips), "starts": torch.tensor([start for start, _ in starts])},
            {"num_frames": str(length)},
        )

    @torch.inference_mode()
    def _encode(self, pixels: Tensor) -> Tensor:
        """uint8 k c f h w to what is stored."""
        if self.codec is None:
            return pixels.contiguous()
        latents = self.codec.encode(pixels.to(_device_of(self.codec)).float() / 127.5 - 1)
        stored = latents.cpu().to(DTYPES[self.settings.dtype]).contiguous()
        if not bool(torch.isfinite(stored).all()):
            raise ValueError(
                f"the codec gives NaN or values beyond datamodule.cache_dtype={self.settings.dtype} for it"
            )
        return stored

    def clips(self, entries: Sequence[Entry]) -> list[Clip]:
        """All clips that are there, in the order of the entries.

        Raises:
            ValueError: if none is: every video was skipped.
        """
        found = []
        for entry in entries:
            path = self.file_of(entry)
            length = self._length(path)
            if length is not None:
                with safe_open(path, framework="pt") as file:
                    starts = file.get_tensor("starts").tolist()
                found += [Clip(entry, path, number, start, length) for number, start in enumerate(starts)]
        if not found:
            raise ValueError(
                f"none of the {len(entries)} videos could be used, e.g. {entries[0].path}; the reasons are in "
                f"{self.folder / 'skipped.json'}"
            )
        return found

    def _length(self, path: Path) -> int | None:
        """Pixel frames of a file's clips where it holds clips of these settings from end to end; None for any other.

        Half a copy from another machine, or a file with other tensors inside, is made again.
        """
        if not path.is_file():
            return None
        try:
            with safe_open(path, framework="pt") as file:
                length = int((file.metadata() or {})["num_frames"])
                clips, starts = file.get_slice("clips"), file.get_slice("starts")
                shape, first = tuple(clips.get_shape()), file.get_tensor("starts")
                fits = starts.get_dtype() == "I64" and first.ndim == 1 and bool((first >= 0).all())
                fits &= shape == (len(first), *self._stored_shape(length)) and length in self.settings.num_frames
                return length if fits and DTYPES[self.settings.dtype] == clips[:0].dtype else None
        except (SafetensorError, OSError, KeyError, ValueError):
            return None

    def _stored_shape(self, num_frames: int) -> tuple[int, int, int, int]:
        """c f h w of a clip of so many pixel frames."""
        height, width = self.settings.height, self.settings.width
        if self.codec is None:
            return 3, num_frames, height, width
        side = self.codec.space_factor
        return self.codec.channels, (num_frames - 1) // self.codec.time_factor + 1, height // side, width // side

    @staticmethod
    def read(clip: Clip, num_frames: int, start: int = 0) -> Tensor:
        """Frames of a clip from one on, as stored: c f h w; both numbers in frames of what is stored.

        Raises:
            ValueError: naming the file, if it is gone, was cut since the run began, or holds NaN.
        """
        try:
            with safe_open(clip.file, framework="pt") as file:
                frames: Tensor = file.get_slice("clips")[clip.number, :, start : start + num_frames]
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{clip.file}, clips of {clip.entry.path}, is gone or broken since the run began: go on with "
                "resume=last, and what is missing is made again"
            ) from error
        if frames.is_floating_point() and not bool(torch.isfinite(frames).all()):
            raise ValueError(
                f"{clip.file}, clips of {clip.entry.path}, holds NaN or infinite values: remove it, and the next start "
                "makes it again (where it comes out the same, the codec gives no numbers for that video)"
            )
        return frames


def _device_of(codec: Codec) -> torch.device:
    """Where a codec that is a module lies; the CPU for any other."""
    parameters = codec.parameters() if isinstance(codec, torch.nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def _save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with whole(path) as part:
        save_file(tensors, part, metadata=metadata)


def cache_text(folder: Path, captions: Sequence[str], encode: Callable[[list[str]], tuple[Tensor, Tensor]]) -> None:
    """Encodes every caption that folder/text.safetensors lacks and writes it anew; keys are hashes of captions."""
    path = folder / "text.safetensors"
    known = _known_text(path)
    missing = [caption for caption in dict.fromkeys(captions) if text_key(caption) not in known]
    if not missing:
        return
    added: dict[str, Tensor] = {}
    for begin in range(0, len(missing), 64):
        group = missing[begin : begin + 64]
        features, mask = encode(group)
        for caption, row, real in zip(group, features, mask, strict=True):
            added[text_key(caption)] = row[real].half().cpu().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    remove_unfinished(folder)
    # Read again: another process may have added its own while ours were encoded.
    _save(path, _known_text(path) | added, {})


def _known_text(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path) if path.is_file() else {}
    except SafetensorError:  # broken: everything is encoded again
        return {}


def text_key(caption: str) -> str:
    """The name of a caption's features in the cache."""
    return hashlib.sha256(caption.encode()).hexdigest()[:20]
