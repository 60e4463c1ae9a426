"""What a disk does with names: whether it tells capitals from small letters, and what it lists first."""

import os
import tempfile
from pathlib import Path

from longtake.reports.vbench.rules import MADE_BY_LONG


def ignores_case(folder: Path) -> bool:
    """Whether names that differ in capitals alone are one to the disk; asked of the nearest folder that is there.

    Args:
        folder: folder that need not exist.

    Returns:
        Whether the disk ignores case.

    Raises:
        ValueError: nothing can be written there.
    """
    there = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.is_dir())
    try:
        with tempfile.NamedTemporaryFile(prefix="case-", dir=there) as file:
            return Path(file.name).with_name(Path(file.name).name.swapcase()).exists()
    except OSError as error:
        raise ValueError(f"output={folder}: nothing can be written to '{there}' ({error.strerror})") from error


def folder_listed_first(folder: Path) -> str:
    """The folder that `os.listdir` would name first once VBench-Long's own are there; "" if it is a file.

    Those folders are made for the moment, since only the disk knows where it lists them, and taken away again.

    Args:
        folder: folder of the videos.

    Returns:
        Name of that folder, or "".

    Raises:
        OSError: nothing can be written to the folder.
    """
    made: list[Path] = []
    try:
        for name in MADE_BY_LONG:
            if not (folder / name).exists():
                (folder / name).mkdir()
                made.append(folder / name)
        first = os.listdir(folder)[0]
        return first if (folder / first).is_dir() else ""
    finally:
        for place in made:
            place.rmdir()
