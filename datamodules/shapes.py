"""Heights and widths of films as they are shown, remembered by what the films are."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from datamodules.caching.names import FilmNames
from longtake.video import Place, is_remote, probe
from networks.files import write_text

log = logging.getLogger("longtake")

Size = tuple[int, int]


def shapes_of(films: Sequence[Place], folder: str) -> list[Size | None]:
    """Height and width of each film; None where it cannot be read.

    folder: of the cache, where they are remembered; one that may only be read is not added to.
    """
    names, file = FilmNames(f"{folder}/films"), Path(folder, "shapes.json")
    names.refresh()
    known = _read(file) if not is_remote(folder) else {}
    keys = names.keys(films, look=False)
    found: dict[str, Size | None] = {}
    for key, film in zip(keys, films, strict=True):
        if key and key not in known and key not in found:
            try:
                found[key] = probe(film)[:2]
            except ValueError:  # the cache says why when its turn comes
                found[key] = None
    if found and not is_remote(folder):
        with suppress(PermissionError):
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, json.dumps({**_read(file), **known, **found}) + "\n")
    known |= found
    return [known.get(key or "") for key in keys]


def nearest(shape: Size | None, sizes: Sequence[Size]) -> int:
    """The number of the size whose aspect is nearest to a film's, so that the least is cut off; the first for none."""
    if shape is None:
        return 0

    def kept(size: Size) -> float:
        aspect, own = size[0] / size[1], shape[0] / shape[1]
        return min(aspect, own) / max(aspect, own)

    return max(range(len(sizes)), key=lambda number: kept(sizes[number]))


def _read(file: Path) -> dict[str, Size | None]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(key): (int(shape[0]), int(shape[1])) for key, shape in found.items() if shape}
    except (OSError, ValueError, TypeError, AttributeError, IndexError):  # broken: looked at again
        return {}
