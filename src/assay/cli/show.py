"""Tables and colours for people; imported only by commands that have some."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_OF_FILES: Final = 140
_CONTROLS: Final = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What JSON need not quote, though terminals obey it; an image's author can have written it."""


def console(*, err: bool = False) -> Console:
    """For standard output, or error; into a pipe or file it writes plain, long lines."""
    stream = sys.stderr if err else sys.stdout
    is_terminal = stream is not None and stream.isatty()
    width = None if is_terminal else _WIDTH_OF_FILES
    return Console(stderr=err, highlight=False, markup=False, emoji=False, width=width)


def table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table whose `right` columns hold numbers."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        is_number = column in right
        justify: Literal["left", "right"] = "right" if is_number else "left"
        made.add_column(column, justify=justify, overflow="fold", no_wrap=is_number)
    return made


def good(text: str) -> Text:
    """In green."""
    return Text(text, style="green")


def bad(text: str) -> Text:
    """In red."""
    return Text(text, style="bold red")


def print_json(data: Any) -> None:
    """One line."""
    text = json.dumps(data, ensure_ascii=False)
    sys.stdout.write(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def milliseconds(nanoseconds: int | None) -> str:
    """A number, or a dash when nobody has measured."""
    return "–" if nanoseconds is None else f"{nanoseconds / 1e6:.1f}"


def mebibytes(count: int | None) -> str:
    """A number, or a dash when nobody has measured."""
    return "–" if count is None else f"{count / 1024**2:.1f}"
