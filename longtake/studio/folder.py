"""The folder of a studio: everything that the page shows lies in it, so that a page that ends loses nothing.

storyboard.yaml                        the cards
000.mp4 manifest.jsonl segments/       what generate.py writes for storyboard=storyboard.yaml
given/                                 videos that were dragged in
previews/                              segments as videos, by the hash of what made them
takes/001/                             finished takes, with their storyboard, manifest and report
"""

import filecmp
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from longtake.studio.cards import Board
from networks.files import claimed, remove_unfinished, whole, write_text


class Take(NamedTuple):
    """A finished take: its number, its video, and what was made when."""

    name: str
    folder: Path

    @property
    def video(self) -> Path:
        """The take's video file."""
        return self.folder / "000.mp4"

    @property
    def prompt(self) -> str:
        """The prompt of the first segment that is seen; "" where the manifest names none."""
        line = self._line()
        try:
            return str(line["prompt"] if "prompt" in line else line["segments"][0]["prompt"])
        except (LookupError, TypeError):
            return ""

    @property
    def title(self) -> str:
        """How a list names the take: by its number, its weights, its length and its first prompt."""
        line = self._line()
        weights = Path(str(line.get("weights", "unknown weights"))).name
        return f"take {self.name} · {weights}, {line.get('num_frames', '?')} frames, “{_short(self.prompt)}”"

    def _line(self) -> dict[str, Any]:
        try:
            found = json.loads((self.folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[0])
        except (OSError, ValueError, LookupError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _short(text: str, most: int = 24) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


class Folder:
    """The files of a studio; see the head of this module."""

    def __init__(self, root: Path) -> None:
        """root: is made when it is opened."""
        self.root = root.absolute()
        self.storyboard = self.root / "storyboard.yaml"
        self.video = self.root / "000.mp4"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """While it lasts, the folder is this studio's alone.

        Raises:
            ValueError: if another studio has it open.
        """
        advice = "use the page of that studio, or give output=… another folder; nothing here was changed"
        with claimed(self.root, advice=advice):
            for folder in (self.root, self.root / "previews", self.root / "given"):
                remove_unfinished(folder)
            yield

    def write(self, board: Board) -> str:
        """Writes the cards; returns the file's text."""
        text = board.text()
        write_text(self.storyboard, text)
        return text

    def take_in(self, video: Path) -> str:
        """Copies a video that was dragged in.

        Args:
            video: the file.

        Returns:
            Its path from the storyboard's folder.

        Raises:
            ValueError: if there is no such file.
        """
        if not video.is_file():
            raise ValueError(f"{video} is no file: give a video")
        with video.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()[:8]
        stem = re.sub(r"[^\w.-]+", "_", video.stem).strip("._") or "video"
        target = self.root / "given" / f"{stem[:60]}-{content}{video.suffix.lower()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_file():
            with whole(target) as part:
                shutil.copyfile(video, part)
        return target.relative_to(self.root).as_posix()

    def preview(self, key: str) -> Path:
        """Where a segment's preview lies, or will."""
        return self.root / "previews" / f"{key}.mp4"

    def takes(self) -> list[Take]:
        """Finished takes, the newest first."""
        found = sorted((self.root / "takes").glob("[0-9][0-9][0-9]*"), reverse=True)
        return [Take(folder.name, folder) for folder in found if (folder / "000.mp4").is_file()]

    def keep_take(self, storyboard: str) -> Take:
        """Copies what was just made to a take of its own, unless the newest one is the same.

        storyboard: the text of its file when it was begun.
        """
        known = self.takes()
        if known and filecmp.cmp(known[0].video, self.video, shallow=False):
            return known[0]
        name = f"{int(known[0].name) + 1 if known else 1:03d}"
        folder = self.root / "takes" / name
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / self.storyboard.name, storyboard)
        for file in (self.root / "manifest.jsonl", self.video):  # what makes it a take comes last
            with whole(folder / file.name) as part:
                shutil.copyfile(file, part)
        return Take(name, folder)
