"""Which videos there are: a folder, or a table in CSV, JSONL, JSON or Parquet."""

import ast
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from datamodules.table_rows import Row, read_rows
from longtake.video.folders import CAPTION_ENDINGS, ENDINGS, list_folder, read_caption
from longtake.video.places import Place, is_remote, joined, place, shown

log = logging.getLogger("longtake")

PATH_COLUMNS = ("path", "video", "file", "file_name", "video_path", "file_path", "filename")
TEXT_COLUMNS = ("text", "caption", "prompt")
CONTROL_COLUMNS = ("control", "poses")
SHORT_TEXT_COLUMNS = ("short_text", "short_caption")
SPLIT_NAMES = ("train", "validation", "test")
SPLITS = {"training": "train", "val": "validation", "valid": "validation", "dev": "validation"}
"""Other people's names of splits, and ours."""
_LISTS = {(f"{opening}{quote}", closing) for opening, closing in ("[]", "{}") for quote in "\"'"}


class _Said(NamedTuple):
    where: str
    caption: str
    split: str
    short_caption: str = ""
    control: Place | None = None


class Entry(_Said):
    """One video: where it is, what it shows ("" if nobody says), its split ("" if the table has none).

    short_caption: another text that leaves most of it out; "" where there is none. control: a file with a row of
    numbers for every frame, such as poses; None where there is none. The place is kept as text, `where`: of a million
    films, places as objects would take four times the memory.
    """

    __slots__ = ()

    def __new__(
        cls, path: str | Place, caption: str, split: str, short_caption: str = "", control: Place | None = None
    ) -> "Entry":
        """path: on this machine, or a URL."""
        return super().__new__(cls, str(path), caption, split, short_caption, control)

    @property
    def path(self) -> Place:
        """Where the video lies."""
        return place(self.where)

    @property
    def film(self) -> str:
        """A text that is equal for all entries of one film, however they write its place."""
        return self.where if is_remote(self.where) else os.path.normpath(self.where)


def read_entries(root: str | Path, table: str | Path | None) -> list[Entry]:
    """The videos of a table, or of a folder where there is no table; what is lost of them is said in the log.

    Args:
        root: folder, on this machine or anywhere that `longtake.video.place` names; paths in the table are relative to
            it. In a folder, NAME.txt beside a video is its caption, and a metadata.csv, .jsonl or .parquet in it or
            below is the table of the folder that it lies in.
        table: path of the table; None for the folder itself.

    Returns:
        The videos, in the order of the table or of their paths.

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
    entries, tables = [], _of_folders(found.tables)
    alone = found.films
    for folder, table in tables.items():
        mine = [film for film in alone if folder in film.parents]
        alone = [film for film in alone if folder not in film.parents]
        entries += _with_split_of(folder, root, _read_table(folder, table))
        named = {entry.film for entry in entries}
        left = [film for film in mine if Entry(film, "", "").film not in named]
        log.info(f"{table} is taken as the table of {folder}")
        if left:
            log.warning(f"{len(left)} of {len(mine)} films of {folder} are not in {table.name}: {some(left)}")
    return entries + _with_captions(root, alone, found.captions) if alone else entries


def _of_folders(tables: Sequence[Place]) -> dict[Place, Place]:
    """The table of each folder that has one, outer folders first, whose tables count for all below them."""
    found: dict[Place, Place] = {}
    for table in tables:
        above = next((folder for folder in found if folder in table.parents), None)
        if above is not None:
            log.warning(f"{table} is passed over: {found[above]} is the table of {above} and all below it")
            continue
        columns = next(read_rows(table), Row("", {})).values
        if set(PATH_COLUMNS) & set(columns):
            found[table.parent] = table
        else:
            log.warning(
                f"{table} is taken for no table of videos: it has the columns {', '.join(columns)}, "
                f"but none of {', '.join(PATH_COLUMNS)}"
            )
    return found


def _with_split_of(folder: Place, root: Place, entries: list[Entry]) -> list[Entry]:
    """Of Hugging Face's folders `train`, `validation` and `test` each is a split, where the table has none."""
    inner = folder.parts[len(root.parts) :]
    split = _split(inner[0]) if inner else ""
    if split not in SPLIT_NAMES or any(entry.split for entry in entries):
        return entries
    return [entry._replace(split=split) for entry in entries]


def _with_captions(root: Place, films: Sequence[Place], captions: Mapping[Place, Place]) -> list[Entry]:
    """Films by the texts beside them."""
    entries, lost = [], []
    for film in films:
        beside = captions.get(film)
        caption, is_lost = _caption(beside) if beside is not None else ("", False)
        entries.append(Entry(film, _writable(caption), ""))
        lost += [beside] if is_lost else []
    if lost:
        log.warning(
            f"{len(lost)} captions are not UTF-8, and letters of them are lost: {some(lost)}; save them as UTF-8"
        )
    looked = " or ".join(f"NAME{ending}" for ending in CAPTION_ENDINGS)
    _say_captionless(entries, f"no {looked} with a text in it lies beside them in {root}")
    return entries


def _caption(file: Place) -> tuple[str, bool]:
    """As `read_caption`; what cannot be read is said, and none."""
    try:
        return read_caption(file)
    except ValueError as error:
        log.warning(str(error))
        return "", False


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
        swapped += not _is_film(entry.where) and _is_film(entry.caption)
    if entries and swapped > len(entries) / 2:
        raise ValueError(f"{table}: its texts are paths and its paths are texts; exchange the names in its header")
    has = f"has the columns {', '.join(columns)}"
    if entries and not set(TEXT_COLUMNS) & set(columns):
        _say_captionless(entries, f"{table} {has}, but none of {', '.join(TEXT_COLUMNS)}")
    else:
        _say_captionless(entries, f"{table} has no text in their rows")
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
            said = _listed_in(said) if names in (TEXT_COLUMNS, SHORT_TEXT_COLUMNS) else said
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
    split = _split(row.values.get("split"))
    if len(split.split()) > 1:
        raise ValueError(
            f"{table}, {row.where}: the split is {split!r}, but a split's name is one word, such as "
            f'{", ".join(SPLIT_NAMES)}; a text with a comma in it belongs between quotes: "…"'
        )
    return Entry(path, value(TEXT_COLUMNS), split, value(SHORT_TEXT_COLUMNS), control)


def _listed_in(said: object) -> object:
    """The list or object that a text is, as programs write one into a table's field; any other value as it is."""
    if not isinstance(said, str) or (said.strip()[:2], said.strip()[-1:]) not in _LISTS:
        return said
    for read in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return read(said.strip())
    return said


def _is_film(name: str) -> bool:
    name = name.rpartition("/")[2]
    return len(name) < 256 and os.path.splitext(name)[1].lower() in ENDINGS


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
    return sys.intern(SPLITS.get(plain, plain))  # one object for a million rows


def _say_captionless(entries: Sequence[Entry], why: str) -> None:
    without = [entry.where for entry in entries if not entry.caption]
    if without:
        log.warning(
            f"{len(without)} of {len(entries)} videos have no caption and are trained on without one ({why}): "
            f"{some(without)}"
        )


def some(places: Sequence[Any]) -> str:
    """The first few of many."""
    first = ", ".join(shown(each) for each in places[:3])
    return first + (", …" if len(places) > 3 else "")
