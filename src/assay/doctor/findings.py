"""What a check answers: findings, each with a mark and, where it can be mended, the command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Good to know; nothing needs to be done."""
    UNKNOWN = "unknown"
    """It could not be read."""
    WARNING = "warning"
    """Sandboxes work, but are less safe, fewer or slower than they could be."""
    FAILURE = "failure"
    """Sandboxes don't work as long as this is so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    """Which check says so: a stable name, such as "core-pattern"."""
    mark: Mark
    summary: str
    remedy: str = ""
    """Commands for a root shell that mend it, or nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """Findings about one subject."""

    title: str
    findings: tuple[Finding, ...]


def ok(check: str, summary: str) -> Finding:
    """All is well."""
    return Finding(check=check, mark=Mark.OK, summary=summary)


def note(check: str, summary: str, remedy: str = "") -> Finding:
    """Good to know."""
    return Finding(check=check, mark=Mark.NOTE, summary=summary, remedy=remedy)


def unknown(check: str, what: str) -> Finding:
    """It could not be read."""
    return Finding(check=check, mark=Mark.UNKNOWN, summary=f"unknown: {what} could not be read")


def warning(check: str, summary: str, remedy: str = "") -> Finding:
    """It works, but not as it should."""
    return Finding(check=check, mark=Mark.WARNING, summary=summary, remedy=remedy)


def failure(check: str, summary: str, remedy: str = "") -> Finding:
    """It does not work."""
    return Finding(check=check, mark=Mark.FAILURE, summary=summary, remedy=remedy)


def listed(words: Iterable[str], *, most: int = 8) -> str:
    """Join words by commas; of many, the first ones and how many more there are."""
    every = list(words)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
