"""Tables on the terminal, in Markdown and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from networks.files import whole


class Sheet(NamedTuple):
    """One table: a title, a sentence or two that go below it, the columns' heads, and rows of cells."""

    title: str
    notes: Sequence[str]
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


def show(sheet: Sheet, console: Console) -> None:
    """Prints a sheet."""
    table = Table(title=sheet.title, caption="\n".join(sheet.notes))
    for head in sheet.heads:
        table.add_column(head, justify="right")
    for row in sheet.rows:
        table.add_row(*row)
    console.print(table)


def markdown(sheet: Sheet) -> str:
    """A sheet as Markdown."""
    lines = [f"### {sheet.title}", "", _row(sheet.heads), _row(["---:"] * len(sheet.heads))]
    lines += [_row(row) for row in sheet.rows]
    return "\n".join([*lines, "", *[f"{note}\n" for note in sheet.notes]])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def save(folder: Path, name: str, results: dict[str, Any], sheets: Sequence[Sheet]) -> None:
    """Writes name.json and name.md; whoever reads them never sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {".json": json.dumps(results, indent=1) + "\n", ".md": "\n".join(map(markdown, sheets))}
    for suffix, text in texts.items():
        with whole(folder / f"{name}{suffix}") as part:
            part.write_text(text)
