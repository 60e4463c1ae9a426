"""Folders of films: which files are films, which texts beside them are their captions, and what is passed over."""

import codecs
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from longtake.video.places import Place, is_remote, shown, told

ENDINGS = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v", ".mkv", ".webm", ".avi", ".divx", ".gif", ".apng"),
        *(".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts", ".m2ts", ".flv", ".wmv", ".asf", ".ogv", ".mxf"),
    )
)
CAPTION_ENDINGS = (".txt", ".caption")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables that Hugging Face's folders of videos have in them."""
QUIET = {".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".parquet", ".md", ".yaml", ".html", ".safetensors", ""}
"""Endings of what lies beside films anywhere, what our programs write too; it is passed over without a word."""
PASSED_FOLDERS = ("__MACOSX", "@eaDir", "lost+found")
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Folder(NamedTuple):
    """A folder's films in order, the text file beside each that has one, and what was passed over, a line each.

    tables: files called as METADATA has it, those of outer folders first.
    """

    films: list[Place]
    captions: dict[Place, Place]
    notes: list[str]
    tables: list[Place]


def list_folder(root: Place) -> Folder:
    """Looks through a folder and all below it, behind links too; hidden files and folders are passed over.

    Args:
        root: a folder on this machine, or elsewhere.

    Returns:
        Films, captions and what was passed over.

    Raises:
        ValueError: if there is no such folder.
    """
    notes: list[str] = []
    with told(root):
        files = list(_remote_files(root) if is_remote(root) else _local_files(root, notes))
    films: list[Place] = []
    texts: list[Place] = []
    tables: list[Place] = []
    passed = Counter[str]()
    for file in files:
        ending = PurePosixPath(file.name).suffix.lower()
        known = films if ending in ENDINGS else texts if ending in CAPTION_ENDINGS else None
        known = tables if file.name.lower() in METADATA else known
        if known is not None:
            if _can_be_read(file, notes):
                known.append(file)
        elif ending not in QUIET:
            passed[ending] += 1
    captions = _pair(films, texts)
    if passed:
        kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(passed.items()))
        notes.append(f"{shown(root)}: files that are no videos by their endings are passed over: {kinds}")
    tables.sort(key=lambda table: (len(table.parents), str(table.parent), METADATA.index(table.name.lower())))
    return Folder(films, captions, notes, tables)


def text_of(data: bytes) -> tuple[str, bool]:
    """A text in any of Unicode's encodings, by its mark or its zeros, and whether letters of it were lost."""
    mark, encoding = next((each for each in MARKS if data.startswith(each[0])), (b"", "utf-8"))
    high, low = data[0:200:2].count(0), data[1:200:2].count(0)
    if not mark and len(data) % 2 == 0 and max(high, low) > len(data[:200]) / 10:  # UTF-16 without a mark
        encoding = "utf-16-be" if high > low else "utf-16-le"
    try:
        text, lost = data[len(mark) :].decode(encoding), False
    except UnicodeDecodeError:
        text, lost = data[len(mark) :].decode(encoding, errors="replace"), True
    return text.lstrip("\ufeff"), lost  # a file that was converted twice has a second mark


def read_caption(file: Place) -> tuple[str, bool]:
    """A caption without its margins, and whether letters of it were lost."""
    with told(file):
        text, lost = text_of(file.read_bytes())
    return text.strip(), lost


def _pair(films: list[Place], texts: list[Place]) -> dict[Place, Place]:
    """NAME.txt or NAME.caption for NAME.mp4, or NAME.mp4.txt; a name in other letters' case counts if it is no other's.

    Accents are one letter or two by the system that wrote the name (NFC, NFD): they are the same here.
    """
    exact: dict[tuple[str, str], Place] = {}
    loose: dict[tuple[str, str], Place] = {}
    for text in sorted(texts, key=lambda file: (CAPTION_ENDINGS.index(_ending(file)), file.name), reverse=True):
        stem = text.name[: -len(_ending(text))]
        exact[str(text.parent), _composed(stem)] = text
        loose[str(text.parent), _composed(stem).casefold()] = text
    stems = Counter((str(film.parent), _composed(_stem(film)).casefold()) for film in films)
    found = {}
    for film in films:
        folder, name, stem = str(film.parent), _composed(film.name), _composed(_stem(film))
        beside = exact.get((folder, stem)) or exact.get((folder, name))
        if beside is None and stems[folder, stem.casefold()] == 1:
            beside = loose.get((folder, stem.casefold())) or loose.get((folder, name.casefold()))
        if beside is not None:
            found[film] = beside
    return found


def _ending(file: Place) -> str:
    return PurePosixPath(file.name).suffix.lower()


def _stem(file: Place) -> str:
    return file.name[: -len(_ending(file))]


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in PASSED_FOLDERS


def _local_files(root: Path, notes: list[str]) -> Iterator[Path]:
    """Every file once, in order; a folder that is reached by two ways, or by itself, is entered once."""
    if not root.is_dir():
        raise ValueError(f"{shown(root)} is not a folder; give one that holds videos")
    entered: set[tuple[int, int]] = set()
    found: list[Path] = []

    def enter(folder: Path) -> None:
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in entered:
                return
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as items:
                listed = sorted(items, key=lambda item: item.name)
        except OSError as error:
            notes.append(f"{shown(folder)}: left out, cannot be listed ({error.strerror})")
            return
        links = []
        for item in listed:
            if _is_hidden(item.name):
                continue
            if item.is_dir(follow_symlinks=False):
                enter(folder / item.name)
            elif os.path.isdir(item.path):  # False, not an error, of a link to itself
                links.append(folder / item.name)
            else:
                found.append(folder / item.name)
        for link in links:  # after what lies here, so that a film is known by its own place
            enter(link)

    enter(root)
    yield from sorted(found)


def _remote_files(root: Any) -> Iterator[Place]:
    """Every file of a folder elsewhere, by its listing."""
    base = root.path.rstrip("/")
    listed: Mapping[str, Any] | list[str] = root.fs.find(root.path)
    names = sorted(str(name)[str(name).find(base) + len(base) :].lstrip("/") for name in listed)
    if not names:
        raise ValueError(f"{root} is not a folder with files in it; give one that holds videos")
    for name in names:
        if not any(_is_hidden(part) for part in name.split("/")):
            yield root / name


def _can_be_read(file: Place, notes: list[str]) -> bool:
    """Whether it is a file with an end and a name in UTF-8, as all that is written about a film must be."""
    if is_remote(file):
        return True
    if str(file).encode("utf-8", "replace").decode() != str(file):
        notes.append(f"{shown(file)}: left out, since its name is not UTF-8; rename it")
        return False
    if not os.path.isfile(file):
        why = "a link to nowhere" if not os.path.exists(file) else "a pipe, socket or device"
        notes.append(f"{shown(file)}: left out: {why}")
        return False
    return True
