"""Results as CSV (RFC 4180), in which no spreadsheet finds a formula of a learner's."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from assay.domain.submission import Submission
from assay.grading.brief import Brief

COLUMNS: Final = (
    "submission", "course", "task", "learner", "state", "verdict", "grade", "submitted_at",
    "finished_at", "attempts", "parts", "owner",
)  # fmt: skip
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def head() -> bytes:
    """The names of the columns."""
    return line(COLUMNS)


def row(known: Submission, result: Brief | None) -> bytes:
    """One submission."""
    grade = None if result is None else result.grade
    parts = () if result is None else result.parts
    return line((
        known.id, known.course, known.task, known.learner, known.state.value,
        "" if result is None else result.verdict.value,
        "" if grade is None else f"{grade:g}",
        _time(known.submitted_at),
        "" if known.finished_at is None else _time(known.finished_at),
        str(known.attempts),
        "; ".join(f"{part.id}: {part.verdict} {100 * part.score:.4g}%" for part in parts),
        known.owner,
    ))  # fmt: skip


def line(cells: Sequence[str]) -> bytes:
    """One record. A cell that a spreadsheet might take for a formula gets an apostrophe."""
    written = io.StringIO()
    csv.writer(written, lineterminator="\r\n").writerow([harmless(cell) for cell in cells])
    return written.getvalue().encode(errors="replace")


def harmless(cell: str) -> str:
    """The same, or with an apostrophe before it, by which spreadsheets know a text."""
    cell = cell.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
