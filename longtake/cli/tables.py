"""What evaluate.py prints: reports, comparisons, faults and costs as tables and lines."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from networks.files import write_text

if TYPE_CHECKING:
    from longtake.reports.comparison import Comparison
    from longtake.reports.report_card import ReportCard
    from longtake.reports.vbench.preflight import Fault


def show(card: "ReportCard", metrics: dict[str, Any], output: Path) -> None:
    """Print means and spreads, distances with their protocols, then what was not scored."""
    from rich.console import Console
    from rich.table import Table

    from longtake.reports.report_card import group_faults
    from longtake.reports.report_page import as_table, distance_table

    console = Console()
    for head, rows in (as_table(card, metrics), distance_table(card)):
        if rows:
            table = Table()
            for name in head:
                table.add_column(name, no_wrap=name != "protocol")  # numbers are never cut, a text may break
            for row in rows:
                table.add_row(*row)
            console.print(table)
    for note in card.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    for what, metric, reason in group_faults(card.skipped):
        console.print(f"not scored: {what} ({metric}): {reason}", markup=False, highlight=False)
    left_out = sum(fault.metric == "all" for fault in card.skipped)
    count = "1 video" if len(card.rows) == 1 else f"{len(card.rows)} videos"
    console.print(f"{count} scored, {left_out} left out; see {output / 'report.html'}", markup=False)


def show_comparison(found: "Comparison", metrics: dict[str, Any], output: Path) -> None:
    """Prints means and differences, then what makes them hard to compare."""
    from rich.console import Console
    from rich.table import Table

    from longtake.reports.comparison_page import as_table

    head, rows = as_table(found, metrics)
    table = Table()
    for name in head:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console()
    width = console.measure(table, options=console.options.update(width=1000)).maximum
    Console(width=max(width, console.width)).print(table)
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False)
    console.print(f"{len(found.cards)} folders are compared; see {output / 'report.html'}", markup=False)


def show_faults(faults: list["Fault"]) -> None:
    """Print each fault in a line."""
    from rich.console import Console

    console = Console()
    for fault in faults:
        word = "dropped" if fault.grave and fault.file else "fails" if fault.grave else "note"
        text = f"{word} ({fault.trap}): {fault.file} {fault.reason}"
        console.print(" ".join(text.split()), markup=False, highlight=False, soft_wrap=True)


def show_cost(record: dict[str, Any], output: Path | None) -> None:
    """Print the table; write cost.json where there is a folder for it."""
    from rich.console import Console
    from rich.table import Table

    from longtake.cost.report import devices_notes, devices_table, table_of

    heads, rows, notes = table_of(record)
    console = Console()
    tables = [("Predicted cost of one video", heads, rows)]
    if record["devices"]:
        tables.append(("Predicted memory of a training", *devices_table(record)))
    for title, names, lines in tables:
        table = Table(title=title)
        table.add_column(names[0], no_wrap=True)
        for name in names[1:]:
            table.add_column(name, justify="right")
        for line in lines:
            table.add_row(*line)
        # Where the lines are too short for it, as off a terminal, the table has its full width: numbers are never cut.
        width = console.measure(table, options=console.options.update(width=1000)).maximum
        Console(width=max(width, console.width)).print(table)
    for note in (*notes, *devices_notes(record)):
        console.print(note, markup=False, highlight=False)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "cost.json", json.dumps(record, indent=1) + "\n")
