"""One program with one small mistake."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_SHOWN: Final = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Mutant:
    """A file of the reference solution with a mistake in it."""

    file: str
    line: int
    """Of the file as it is; from 1."""
    change: str
    """In words such as `a < b` → `a <= b`."""
    source: str = field(repr=False)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.change}"


def change(before: str, after: str) -> str:
    """What was exchanged, on one line."""
    return f"{_short(before)} → {_short(after)}" if after else f"without {_short(before)}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
