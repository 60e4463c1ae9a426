"""Which videos there are: a folder, or a table in CSV or JSONL."""

import csv
import json
from pathlib import Path
from typing import NamedTuple

ENDINGS = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".gif"}
PATH_COLUMNS = ("path", "video", "file")
TEXT_COLUMNS = ("text", "caption", "prompt")
SPLITS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
"""Other people's names of splits, and ours."""


class Entry(NamedTuple):
    """One video: where it is, what it shows ("" if nobody says), and its split ("" if the table has none)."""

    path: Path
    caption: str
    split: str


def read_entries(root: str | Path, table: str | Path | None) -> list[Entry]:
    """The videos of a table, or of a folder where there is no table.

    root: folder; paths in the table are relative to it. In a folder, NAME.txt beside a video is its caption.

    Raises:
        ValueError: if the folder or table is missing, holds no videos, or lacks the column of paths.
    """
    root = Path(root)
    entries = _read_folder(root) if table is None else _read_table(root, Path(table))
    if not entries:
        raise ValueError(f"{table or root} names no videos; expected files ending in {', '.join(sorted(ENDINGS))}")
    return entries


def _read_folder(root: Path) -> list[Entry]:
    if not root.is_dir():
        raise ValueError(f"datamodule.root={root} is not a folder; give one that holds videos")
    entries = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in ENDINGS:
            beside = path.with_suffix(".txt")
            entries.append(Entry(path, beside.read_text().strip() if beside.is_file() else "", ""))
    return entries


def _read_table(root: Path, table: Path) -> list[Entry]:
    table = table if table.is_file() else root / table
    if not table.is_file():
        raise ValueError(f"datamodule.table={table} does not exist; give a .csv or .jsonl file")
    with table.open(newline="") as file:
        if table.suffix == ".csv":
            rows = list(csv.DictReader(file))
        elif table.suffix == ".jsonl":
            rows = [json.loads(line) for line in file if line.strip()]
        else:
            raise ValueError(f"datamodule.table={table} ends in {table.suffix!r}; expected .csv or .jsonl")
    if not rows:
        return []
    where = next((name for name in PATH_COLUMNS if name in rows[0]), None)
    if where is None:
        raise ValueError(f"{table} has the columns {', '.join(rows[0])}, but none of {', '.join(PATH_COLUMNS)}")
    what = next((name for name in TEXT_COLUMNS if name in rows[0]), None)
    return [
        Entry(root / row[where], "" if what is None else str(row[what] or ""), _split(row.get("split"))) for row in rows
    ]


def _split(name: object) -> str:
    """Our name of a split; "" for none."""
    plain = str(name or "").strip().lower()
    return SPLITS.get(plain, plain)


def share_out(entries: list[Entry], validation_share: float, seed: int) -> list[Entry]:
    """Gives every entry without a split one: a seeded share of the videos becomes "validation", the rest "train".

    Where a table has no validation videos at all, that share is taken from its training videos.
    """
    import torch

    if not any(entry.split in ("", "validation") for entry in entries):
        entries = [entry._replace(split="") if entry.split == "train" else entry for entry in entries]
    missing = [place for place, entry in enumerate(entries) if not entry.split]
    order = torch.randperm(len(missing), generator=torch.Generator().manual_seed(seed)).tolist()
    num_validation = min(max(round(validation_share * len(missing)), 1), len(missing) - 1) if len(missing) > 1 else 0
    chosen = {missing[place] for place in order[:num_validation]}
    return [
        entry if entry.split else entry._replace(split="validation" if place in chosen else "train")
        for place, entry in enumerate(entries)
    ]
