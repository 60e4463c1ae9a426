"""manifest.jsonl: which videos of a folder are finished, and how each was made.

Where several teams of processes make videos, each notes its own in manifest.RANK.jsonl, and the first joins them when
all is done, or when a run goes on that was ended.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from networks.files import whole

Wanted = tuple[str, str, int]
"""File, prompt and seed of a video."""


class Manifest:
    """The finished videos among those that are wanted."""

    def __init__(self, folder: Path, wanted: Sequence[Wanted], settings: str) -> None:
        """settings: hash of all that determines a video; a line with another hash is not of a wanted video."""
        self.folder, self.wanted, self.settings = folder, wanted, settings
        self.path = folder / "manifest.jsonl"

    def join(self) -> dict[str, Any]:
        """Lines of the wanted videos that are there, by file, of any run; one file holds them all from here on.

        Nothing names a video that is about to be replaced.
        """
        parts = sorted(self.folder.glob("manifest.*.jsonl"))
        found = {line["file"]: line for path in (self.path, *parts) for line in self._fitting(path)}
        if len(found) < len(self.wanted) or parts:
            self.write(found)
        for part in parts:
            part.unlink()
        return found

    def finished(self) -> dict[str, Any]:
        """Lines of the wanted videos that are there, by file; nothing is written."""
        return {line["file"]: line for line in self._fitting(self.path)}

    def _fitting(self, path: Path) -> Iterator[dict[str, Any]]:
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
            try:
                line = json.loads(text)
                made = (line["file"], line["prompt"], line["seed"])
                if made in self.wanted and line["settings"] == self.settings and (self.folder / line["file"]).is_file():
                    yield line
            except (ValueError, RecursionError, KeyError, TypeError):
                continue  # of a storyboard, or of somebody else

    def write(self, lines: Mapping[str, Any], rank: int | None = None) -> None:
        """Writes lines by file, in the order of the wanted videos; rank: of the process whose part they are."""
        path = self.path if rank is None else self.folder / f"manifest.{rank}.jsonl"
        with whole(path) as part:
            part.write_text("".join(json.dumps(lines[name]) + "\n" for name, *_ in self.wanted if name in lines))
