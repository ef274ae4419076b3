"""A report as lines of CSV and of Markdown, in which nothing of a learner's is taken for ours."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from assay.grading.export.csv import harmless
from assay.grading.regrading.report import Difference, Part, Summary

COLUMNS: Final = (
    "submission", "task", "learner", "submitted", "change", "old grade", "new grade",
    "old verdict", "new verdict", "parts", "remarks", "conflict",
)  # fmt: skip
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|#!&~])")


def csv_head() -> str:
    """The first line."""
    return _csv_line(COLUMNS)


def csv_row(each: Difference) -> str:
    """One line."""
    return _csv_line(cells(each))


def markdown_head() -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n"


def markdown_row(each: Difference) -> str:
    """One line."""
    return f"| {' | '.join(_plain(cell) for cell in cells(each))} |\n"


def markdown_summary(summary: Summary) -> str:
    """What is beneath the table."""
    return f"\n{words(summary)}\n"


def words(summary: Summary) -> str:
    """A summary in one sentence."""
    counted = {
        "up": summary.up, "down": summary.down, "the same": summary.same,
        "could not be graded": summary.failed, "not graded yet": summary.pending,
        "cancelled": summary.cancelled, "changed since by something else": summary.conflicts,
    }  # fmt: skip
    said = ", ".join(f"{count} {name}" for name, count in counted.items() if count)
    means = ""
    if summary.old_mean is not None and summary.new_mean is not None:
        means = f"; mean grade {summary.old_mean:.2f}, then {summary.new_mean:.2f}"
    return f"{said or 'nothing'}{means}."


def cells(each: Difference) -> tuple[str, ...]:
    """In the order of COLUMNS."""
    return (
        each.submission,
        each.task,
        each.learner,
        datetime.fromtimestamp(each.submitted_at, UTC).isoformat(timespec="seconds"),
        each.change,
        grade_text(each.old_grade),
        grade_text(each.new_grade),
        each.old_verdict or "",
        each.new_verdict or "",
        "; ".join(_parts(each.parts)),
        "; ".join((*each.remarks, *((each.reason,) if each.reason else ()))),
        "yes" if each.conflict else "",
    )


def grade_text(grade: float | None) -> str:
    """A grade, or nothing."""
    return "" if grade is None else f"{grade:g}"


def _parts(parts: Sequence[Part]) -> Iterator[str]:
    for part in parts:
        old = _side(part.old_verdict, part.old_score)
        yield f"{part.id}: {old} → {_side(part.new_verdict, part.new_score)}"


def _side(verdict: str | None, score: float | None) -> str:
    if verdict is None:
        return "none"
    return verdict if score is None else f"{verdict} {100 * score:.3g} %"


def _csv_line(values: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow([harmless(value) for value in values])
    return text.getvalue()


def _plain(value: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(value.split()))
