"""Rows of tables in CSV, JSONL, JSON and Parquet: names of columns to values; what would be lost in them is refused."""

import csv
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from longtake.video.folders import ENDINGS, text_of
from longtake.video.places import Place, told

log = logging.getLogger("longtake")

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
DELIMITERS = ",;\t|"
_ROW_INSIDE = re.compile(
    rf"^[^,;\t\n\"]*({'|'.join(map(re.escape, sorted(ENDINGS)))})\"?\s*[,;\t]", re.IGNORECASE | re.MULTILINE
)
csv.field_size_limit(1 << 20)  # of a text, in letters


class Row(NamedTuple):
    """One row: where it stands, such as "line 3", and its values by the names of the columns in small letters."""

    where: str
    values: dict[str, Any]


def read_rows(table: Place) -> Iterator[Row]:
    """All rows of a table.

    Args:
        table: path of a .csv, .jsonl, .json or .parquet file.

    Yields:
        The rows, in order.

    Raises:
        ValueError: with table and line, if it cannot be read, or a row does not fit its header.
    """
    ending = PurePosixPath(table.name).suffix.lower()
    if ending not in TABLE_ENDINGS:
        raise ValueError(f"datamodule.table={table} ends in {ending!r}; expected {', '.join(TABLE_ENDINGS)}")
    yield from _parquet(table) if ending == ".parquet" else _of_text(table, ending)


def _of_text(table: Place, ending: str) -> Iterator[Row]:
    with told(table):
        text, lost = text_of(table.read_bytes())
    if lost:
        raise ValueError(f"{table} is not text in UTF-8; save it as UTF-8")
    rows = {".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".json": _json}[ending]
    yield from rows(table, text)


def _csv(table: Place, text: str) -> Iterator[Row]:
    lines = io.StringIO(text, newline="")
    head = next((line for line in lines if line.strip()), "")
    lines.seek(0)
    delimiter = max(DELIMITERS, key=lambda mark: head.count(mark))  # the first of them where the header has none
    raw: list[str] = []
    odd: list[int] = []
    reader = csv.reader(_kept(lines, raw), delimiter=delimiter, strict=True, skipinitialspace=True)
    names: list[str] | None = None
    rows = 0
    while True:
        begin = reader.line_num + 1
        raw.clear()
        try:
            fields = next(reader)
        except StopIteration:
            _tell_of_blanks(table, delimiter, odd, rows)
            return
        except csv.Error as error:
            raise ValueError(f"{table}, line {begin}: {_quoting(str(error))}") from error
        if not any(field.strip() for field in fields):
            continue
        if names is None:
            names = _header(table, fields)
            continue
        if any(field.strip() for field in fields[len(names) :]):
            raise ValueError(
                f"{table}, line {begin}: has {len(fields)} fields, its header {len(names)} ({', '.join(names)}); put a "
                f'text that has a {delimiter!r} in it between quotes: "…"'
            )
        if any("\n" in field and _ROW_INSIDE.search(field.partition("\n")[2]) for field in fields):
            raise ValueError(f"{table}, line {begin}: {_NOT_CLOSED}")
        rows += 1
        if f"{delimiter} " in _QUOTED.sub("", "".join(raw).rstrip()):
            odd.append(begin)
        yield Row(f"line {begin}", dict(zip(names, fields, strict=False)))


def _kept(lines: Iterable[str], raw: list[str]) -> Iterator[str]:
    """The same lines, each remembered in `raw`."""
    for line in lines:
        raw.append(line)
        yield line


def _tell_of_blanks(table: Place, delimiter: str, odd: Sequence[int], rows: int) -> None:
    """Warns where a few rows have a blank behind a delimiter and most have none.

    It is a text whose comma stands between no quotes: such a row is not too long where its last column was left out.
    """
    if 0 < len(odd) <= rows / 2:
        log.warning(
            f"{table}: {len(odd)} of {rows} rows have a blank behind a {delimiter!r}, as a text has that should stand "
            f"between quotes, and what follows it may be lost; the first is line {odd[0]}"
        )


_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_NOT_CLOSED = 'a quote that opens in it is not closed in its row; close it, or write a quote of the text itself as ""'


def _quoting(said: str) -> str:
    """What Python's reader has against a row, in our words."""
    if "unexpected end" in said or "field larger" in said or "expected after" in said:
        return _NOT_CLOSED
    return f"no row of a table ({said})"


def _header(table: Place, fields: list[str]) -> list[str]:
    names = [_column(field) for field in fields]
    while names and not names[-1]:  # a comma at the end of every line
        names.pop()
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise ValueError(f"{table}: its header names {', '.join(twice)} twice: leave one of each")
    return names


def _column(name: object) -> str:
    return str(name).strip().lower()


def _jsonl(table: Place, text: str) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError too
                reason = getattr(error, "msg", type(error).__name__)
                raise ValueError(f"{table}, line {number}: not JSON ({reason}); expected one object a line") from error
            yield _object(table, f"line {number}", row)


def _json(table: Place, text: str) -> Iterator[Row]:
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{table}: not JSON ({getattr(error, 'msg', type(error).__name__)})") from error
    if not isinstance(rows, list):
        raise ValueError(f"{table}: expected a list of objects, or one object a line in a .jsonl")
    for number, row in enumerate(rows, start=1):
        yield _object(table, f"entry {number}", row)


def _object(table: Place, where: str, row: object) -> Row:
    if not isinstance(row, dict):
        raise ValueError(f'{table}, {where}: expected an object such as {{"path": "a.mp4", "text": "…"}}')
    values = {_column(name): value for name, value in row.items()}
    if len(values) < len(row):
        names = ", ".join(map(str, row))
        raise ValueError(f"{table}, {where}: names a column twice, but for blanks and capitals ({names}); leave one")
    return Row(where, values)


def _parquet(table: Place) -> Iterator[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f'{table}: pip install "longtake[tables]" reads Parquet') from error
    number = 0
    try:
        with told(table), table.open("rb") as file:
            for batch in parquet.ParquetFile(file).iter_batches():
                for row in _unpacked(table, batch, number):
                    number += 1
                    yield _object(table, f"row {number}", row)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{table}: cannot be read as Parquet ({type(error).__name__}); write it again") from error


def _unpacked(table: Place, batch: Any, number: int) -> list[dict[str, Any]]:
    """The rows of a part of a Parquet file; number: of rows before it."""
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except ValueError as error:  # a time in nanoseconds, a text that is not UTF-8
        raise ValueError(
            f"{table}, behind row {number}: a value cannot be read ({error}); write its column as text, or leave it out"
        ) from error
    return rows
