"""The tables of `assay bench load`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.bench.amounts import amount
from assay.bench.figures import Unit
from assay.bench.load.journal import PERCENTILES, summary
from assay.bench.load.report import LoadReport

_WIDTH: Final = 140


def show(report: LoadReport) -> None:
    """Print all of a report but its pictures."""
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(Text(report.title, style="bold"))
    for name, value in report.settings.items():
        console.print(f"  {name}: {value}", highlight=False)
    console.print(_latencies(report))
    for table in report.tables:
        console.print(_table(table.name, table.head, table.rows))
    if report.errors:
        rows = [(what, f"{count:,}") for what, count in report.errors.items()]
        console.print(_table("what failed", ("what", "how often"), rows))
    for remark in report.remarks:
        console.print(remark, highlight=False)
    console.print(_promises(report))
    if report.stopped:
        console.print("ended early: nothing is promised of a part", style="bold red")


def _promises(report: LoadReport) -> Table:
    shown = _table("promises", ("promised", "measured"), ())
    for check in report.checks:
        mark, style = ("✓", "green") if check.kept else ("✗", "bold red")
        measured = Text.assemble((f"{mark} ", style), amount(check.value, check.unit))
        shown.add_row(Text(check.promise), measured)
    return shown


def _latencies(report: LoadReport) -> Table:
    head = ("latency", "count", *(f"p{percent:g}" for percent in PERCENTILES), "max")
    rows = []
    for latency in report.latencies:
        if latency.samples:
            count, *seconds = summary(latency.samples).values()
            shown = (amount(value, Unit.SECONDS) for value in seconds)
            rows.append((latency.name, f"{count:,}", *shown))
    return _table("", head, rows)


def _table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    shown = Table(title=name or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, title in enumerate(head):
        shown.add_column(title, justify="right" if number else "left", no_wrap=bool(number))
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    return shown
