"""Tables that graders write as values with commas between them -> rows of Markdown."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_CELLS_MOST: Final = 100_000


def from_csv(
    options: Mapping[str, str], body: Sequence[str], shown: Callable[[str], str]
) -> list[str]:
    """The lines of a table. `shown` makes a cell Markdown without `|`. What is none stays text."""
    quote, comma = options.get("quote") or '"', options.get("delim") or ","
    head = [options["header"]] if options.get("header") else []
    try:
        rows = list(
            csv.reader([f"{each}\n" for each in (*head, *body)], quotechar=quote, delimiter=comma)
        )
    except (csv.Error, TypeError, ValueError):  # of several letters, or without an end
        return [shown(line) for line in body]
    rows = [row for row in rows if row]
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        return []
    if columns * len(rows) > _CELLS_MOST:  # one long row makes all others as long
        return [shown(line) for line in body]
    if not head:
        rows.insert(0, [])
    lines = [_row(row, columns, shown) for row in rows]
    return [lines[0], "|" + " --- |" * columns, *lines[1:]]


def _row(row: Sequence[str], columns: int, shown: Callable[[str], str]) -> str:
    cells = [shown(" ".join(each.split())) for each in row]
    return f"| {' | '.join([*cells, *[''] * (columns - len(cells))])} |"
