"""Which videos there are: a folder, or a table in CSV or JSONL."""

import csv
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

log = logging.getLogger("longtake")

ENDINGS = {".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".gif"}
PATH_COLUMNS = ("path", "video", "file")
TEXT_COLUMNS = ("text", "caption", "prompt")
SHORT_TEXT_COLUMNS = ("short_text", "short_caption")
SPLIT_NAMES = ("train", "validation", "test")
SPLITS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
"""Other people's names of splits, and ours."""


class Entry(NamedTuple):
    """One video: where it is, what it shows ("" if nobody says), its split ("" if the table has none).

    short_caption: another text that leaves most of it out; "" where there is none.
    """

    path: Path
    caption: str
    split: str
    short_caption: str = ""


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
        if path.suffix.lower() in ENDINGS and _can_be_named(path):
            beside = path.with_suffix(".txt")
            # "replace": a caption in another encoding costs a letter, not the run.
            caption = beside.read_text(encoding="utf-8", errors="replace").strip() if beside.is_file() else ""
            entries.append(Entry(path, caption, ""))
    return entries


def _can_be_named(path: Path) -> bool:
    """Whether a name is UTF-8, as everything that is written about a video must be."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        log.warning(f"{ascii(str(path))[1:-1]}: left out, since its name is not UTF-8; rename it")
        return False
    return True


def _read_table(root: Path, table: Path) -> list[Entry]:
    table = table if table.is_file() else root / table
    if not table.is_file():
        raise ValueError(f"datamodule.table={table} does not exist; give a .csv or .jsonl file")
    if table.suffix not in (".csv", ".jsonl"):
        raise ValueError(f"datamodule.table={table} ends in {table.suffix!r}; expected .csv or .jsonl")
    try:
        rows = list(_read_rows(table))
    except UnicodeDecodeError as error:
        raise ValueError(f"{table} is not text in UTF-8; save it as UTF-8") from error
    entries = []
    for number, row in rows:
        where, what, briefly = (
            next((text for name in names if (text := _plain(row.get(name)))), "")
            for names in (PATH_COLUMNS, TEXT_COLUMNS, SHORT_TEXT_COLUMNS)
        )
        if not where:
            columns = ", ".join(str(name) for name in row)
            raise ValueError(
                f"{table}, line {number}: names no video; it has the columns {columns}, "
                f"but none of {', '.join(PATH_COLUMNS)} with something in it"
            )
        entries.append(Entry(root / where, what, _split(row.get("split")), briefly))
    return entries


def _read_rows(table: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows with the number of the line on which each ends."""
    with table.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a mark before the first column
        if table.suffix == ".csv":
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
            return
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError too
                reason = getattr(error, "msg", type(error).__name__)
                raise ValueError(f"{table}, line {number}: not JSON ({reason}); expected one object a line") from error
            if not isinstance(row, dict):
                raise ValueError(f'{table}, line {number}: expected an object such as {{"path": "a.mp4", "text": "…"}}')
            yield number, row


def _plain(value: object) -> str:
    """Text without its margins; "" for what other programs write where there is none."""
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in ("nan", "none", "null") else text


def _split(name: object) -> str:
    """Our name of a split; "" for none."""
    plain = _plain(name).lower()
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


def fill_splits(usable: list[Entry], listed: list[Entry], seed: int) -> dict[Entry, list[Entry]]:
    """Where broken videos left training or validation without any, the one that changes sides, and what it becomes.

    Only where share_out drew the validation videos: a table's own are not ours to change. A single usable video
    becomes both. listed: all videos, before share_out.
    """
    import torch

    if any(entry.split == "validation" for entry in listed):
        return {}
    for lacking, other in (("validation", "train"), ("train", "validation")):
        have = [entry for entry in usable if entry.split == other]
        if not have or any(entry.split == lacking for entry in usable):
            continue
        chosen = have[int(torch.randint(len(have), (1,), generator=torch.Generator().manual_seed(seed)))]
        moved = chosen._replace(split=lacking)
        if len(have) == 1:
            log.warning(f"{chosen.path} is the only video that can be used: validation sees what is trained on")
            return {chosen: [chosen, moved]}
        log.warning(f"no video drawn for {lacking} can be used: {chosen.path} is taken from {other} for it")
        return {chosen: [moved]}
    return {}


def log_splits(listed: list[Entry], shared: list[Entry]) -> None:
    """Says how many videos are in which split, how many share_out moved to validation, and which splits are unused."""
    count = Counter(entry.split for entry in shared)
    moved = count["validation"] - sum(entry.split == "validation" for entry in listed)
    chosen = f"; {moved} for validation were chosen by datamodule.validation_share" if moved else ""
    log.info(f"videos: {', '.join(f'{number} {split}' for split, number in sorted(count.items()))}{chosen}")
    unknown = sorted(set(count) - set(SPLIT_NAMES))
    if unknown:
        log.warning(f"videos of the splits {', '.join(unknown)} are not used; known are {', '.join(SPLIT_NAMES)}")
