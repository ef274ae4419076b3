"""The tables and the progress bar of `assay bench`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Final

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from assay.bench import Check, Figure, Report
from assay.bench import Progress as Tell
from assay.bench.amounts import amount
from assay.bench.startup.tables import sentences, tables

_WIDTH: Final = 140
_WIDE: Final = 180


def show(report: Report) -> None:
    """Print one benchmark's figures."""
    # A file or a pipe has no width; what is wrapped is hard to read and to search.
    width = None if sys.stdout.isatty() else _WIDTH
    Console(width=width).print(_table(report))


def show_startup(report: Report) -> None:
    """Print the tables of technologies, and what could not be measured."""
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(Text(report.title, style="bold"))
    for each in tables(report):
        shown = Table(title=each.name, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for number, title in enumerate(each.head):
            shown.add_column(title, justify="right" if number else "left", no_wrap=bool(number))
        for row in each.rows:
            shown.add_row(*map(Text, row))
        console.print(shown)
    for sentence in sentences(report):
        console.print(sentence, highlight=False, markup=False)


def _table(report: Report) -> Table:
    shown = Table(title=report.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("driver")
    shown.add_column("what")
    # The second p99 shows how much of the first is the machine's own unrest.
    for name in ("median", "p95", "p99", report.beside, "its p99"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("promised")
    shown.add_column("measured", no_wrap=True)
    for figure in report.figures:
        shown.add_row(
            figure.driver,
            figure.name,
            *_measured(figure),
            *_beside(figure),
            "\n".join(check.promise for check in figure.checks),
            Text("\n").join(_checked(check) for check in figure.checks),
        )
    return shown


def _measured(figure: Figure) -> tuple[str, str, str]:
    middle = amount(figure.measured.median, figure.unit)
    if len(figure.measured.samples) == 1:
        return middle, "", ""
    return middle, amount(figure.tail(95), figure.unit), amount(figure.tail(99), figure.unit)


def _beside(figure: Figure) -> tuple[str, str]:
    if figure.beside is None:
        return "", ""
    middle = amount(figure.beside.median, figure.unit)
    if len(figure.beside.samples) == 1:
        return middle, ""
    return middle, amount(figure.tail_beside(99), figure.unit)


def _checked(check: Check) -> Text:
    mark, style = ("✓", "green") if check.kept else ("✗", "bold red")
    return Text.assemble((f"{mark} ", style), amount(check.value, check.unit))


@contextlib.contextmanager
def progress_bar() -> Iterator[Tell]:
    """A bar for each thing that is being done, on standard error, gone at the end.

    Not drawn again by a thread of its own: that would disturb what is measured.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeElapsedColumn())  # fmt: skip
    with Progress(
        *columns, console=Console(stderr=True), transient=True, auto_refresh=False
    ) as bars:
        known: dict[str, TaskID] = {}

        def tell(what: str, done: int, whole: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what)
            bars.update(known[what], completed=done, total=whole, refresh=True)

        yield tell
