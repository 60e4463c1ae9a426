"""Which videos there are: a folder, or a table in CSV, JSONL, JSON or Parquet."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from datamodules.table_rows import Row, read_rows
from longtake.video.folders import CAPTION_ENDINGS, ENDINGS, list_folder, read_caption
from longtake.video.places import Place, is_remote, joined, place

log = logging.getLogger("longtake")

PATH_COLUMNS = ("path", "video", "file", "file_name", "video_path", "file_path", "filename")
TEXT_COLUMNS = ("text", "caption", "prompt")
CONTROL_COLUMNS = ("control", "poses")
SHORT_TEXT_COLUMNS = ("short_text", "short_caption")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables that Hugging Face's folders of videos have in them."""
SPLIT_NAMES = ("train", "validation", "test")
SPLITS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
"""Other people's names of splits, and ours."""


class Entry(NamedTuple):
    """One video: where it is, what it shows ("" if nobody says), its split ("" if the table has none).

    short_caption: another text that leaves most of it out; "" where there is none. control: a file with a row of
    numbers for every frame, such as poses; None where there is none.
    """

    path: Place
    caption: str
    split: str
    short_caption: str = ""
    control: Place | None = None

    @property
    def film(self) -> str:
        """The same for all entries of one film, however they write its place."""
        return str(self.path) if is_remote(self.path) else os.path.normpath(self.path)


def read_entries(root: str | Path, table: str | Path | None) -> list[Entry]:
    """The videos of a table, or of a folder where there is no table; what is lost of them is said in the log.

    root: folder, on this machine or anywhere that `longtake.video.place` names; paths in the table are relative to it.
    In a folder, NAME.txt beside a video is its caption, and a metadata.csv, .jsonl or .parquet in it is its table.

    Raises:
        ValueError: if the folder or table is missing, holds no videos, or has a row that would be lost in part.
    """
    root = place(root)
    entries = _read_folder(root) if table is None else _read_table(root, _find_table(root, table))
    if not entries:
        raise ValueError(f"{table or root} names no videos; expected files ending in {', '.join(sorted(ENDINGS))}")
    return entries


def _read_folder(root: Place) -> list[Entry]:
    if not is_remote(root) and not root.is_dir():
        raise ValueError(f"datamodule.root={root} is not a folder; give one that holds videos")
    found = list_folder(root)
    for note in found.notes:
        log.warning(note)
    for name in METADATA:
        if (root / name).is_file():
            entries = _read_table(root, root / name)
            named = {entry.film for entry in entries}
            left = [film for film in found.films if Entry(film, "", "").film not in named]
            log.info(f"{root / name} is taken as the table of {root}")
            if left:
                log.warning(f"{len(left)} of {len(found.films)} films of {root} are not in {name}: {_some(left)}")
            return entries
    entries, lost = [], []
    for film in found.films:
        beside = found.captions.get(film)
        caption, is_lost = read_caption(beside) if beside is not None else ("", False)
        entries.append(Entry(film, _writable(caption), ""))
        lost += [beside] if is_lost else []
    if lost:
        log.warning(
            f"{len(lost)} captions are not UTF-8, and letters of them are lost: {_some(lost)}; save them as UTF-8"
        )
    looked = " or ".join(f"NAME{ending}" for ending in CAPTION_ENDINGS)
    _say_captionless(entries, f"{root}: no {looked} with a text in it beside")
    return entries


def _find_table(root: Place, table: str | Path) -> Place:
    if is_remote(table):
        return place(table)
    found = Path(table) if Path(table).is_file() else root / str(table)
    if not found.is_file():
        raise ValueError(f"datamodule.table={found} does not exist; give a .csv, .jsonl, .json or .parquet file")
    return found


def _read_table(root: Place, table: Place) -> list[Entry]:
    entries, columns = [], dict[str, None]()
    swapped = 0
    for row in read_rows(table):
        columns.update(dict.fromkeys(row.values))
        entry = _entry(root, table, row)
        entries.append(entry)
        swapped += not _is_film(entry.path.name) and _is_film(entry.caption)
    if entries and swapped > len(entries) / 2:
        raise ValueError(f"{table}: its texts are paths and its paths are texts; exchange the names in its header")
    has = f"has the columns {', '.join(columns)}"
    if entries and not set(TEXT_COLUMNS) & set(columns):
        _say_captionless(entries, f"{table} {has}, but none of {', '.join(TEXT_COLUMNS)}, for")
    else:
        _say_captionless(entries, f"{table}: no text for")
    films = len({entry.film for entry in entries})
    if films < len(entries):
        log.info(f"{table}: {len(entries)} rows name {films} films")
    return entries


def _entry(root: Place, table: Place, row: Row) -> Entry:
    """What a row says.

    Raises:
        ValueError: if it names no video, or something else than a text where a text belongs.
    """

    def value(names: Sequence[str]) -> str:
        for name in names:
            said = row.values.get(name)
            if isinstance(said, dict) and isinstance(said.get("path"), str) and said.get("bytes") is None:
                said = said["path"]  # as Hugging Face's tables have videos that lie beside them
            if isinstance(said, list | dict | bytes):
                kind = {list: "a list", dict: "an object"}.get(type(said), "no text")
                raise ValueError(f"{table}, {row.where}: {name} is {kind}; give one text a row")
            if text := _plain(said):
                return text
        return ""

    where = value(PATH_COLUMNS)
    if not where:
        columns = ", ".join(str(name) for name in row.values)
        raise ValueError(
            f"{table}, {row.where}: names no video; it has the columns {columns}, "
            f"but none of {', '.join(PATH_COLUMNS)} with something in it"
        )
    path = joined(root, where)
    if "\\" in where and not is_remote(where) and not _is_there(path):
        path = joined(root, where.replace("\\", "/"))  # a table that was made on Windows
    beside = value(CONTROL_COLUMNS)
    control = joined(root, beside) if beside else None
    return Entry(path, value(TEXT_COLUMNS), _split(row.values.get("split")), value(SHORT_TEXT_COLUMNS), control)


def _is_film(name: str) -> bool:
    return len(name) < 256 and PurePosixPath(name).suffix.lower() in ENDINGS


def _is_there(path: Place) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _plain(value: object) -> str:
    """Text without its margins; "" for what other programs write where there is none."""
    text = "" if value is None else _writable(str(value)).strip()
    return "" if text.lower() in ("nan", "none", "null", "<na>") else text


def _writable(text: str) -> str:
    """A text that any file can hold: half a letter of UTF-16, as JSON allows it, is a question mark."""
    return text.encode("utf-8", "replace").decode()


def _split(name: object) -> str:
    """Our name of a split; "" for none."""
    plain = _plain(name).lower()
    return SPLITS.get(plain, plain)


def _say_captionless(entries: Sequence[Entry], why: str) -> None:
    without = [entry.path for entry in entries if not entry.caption]
    if without:
        log.warning(f"{why} {len(without)} of {len(entries)} videos, which train without a caption: {_some(without)}")


def _some(places: Sequence[Any]) -> str:
    """The first few of many."""
    first = ", ".join(str(each) for each in places[:3])
    return first + (", …" if len(places) > 3 else "")


def share_out(entries: list[Entry], validation_share: float, seed: int) -> list[Entry]:
    """Gives every entry without a split one: a seeded share of the films becomes "validation", the rest "train".

    All entries of a film get the same. Where a table has no validation videos at all, that share is taken from its
    training videos.
    """
    import torch

    if not any(entry.split in ("", "validation") for entry in entries):
        entries = [entry._replace(split="") if entry.split == "train" else entry for entry in entries]
    missing = list(dict.fromkeys(entry.film for entry in entries if not entry.split))
    order = torch.randperm(len(missing), generator=torch.Generator().manual_seed(seed)).tolist()
    num_validation = min(max(round(validation_share * len(missing)), 1), len(missing) - 1) if len(missing) > 1 else 0
    chosen = {missing[place] for place in order[:num_validation]}
    return [
        entry if entry.split else entry._replace(split="validation" if entry.film in chosen else "train")
        for entry in entries
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
    if not any(entry.split for entry in listed):
        return
    first: dict[str, str] = {}
    used = [entry for entry in shared if entry.split in SPLIT_NAMES]
    both = list(dict.fromkeys(e.film for e in used if first.setdefault(e.film, e.split) != e.split))
    if both:
        log.warning(f"{len(both)} films are in several splits, as the table has it: {_some(both)}")
