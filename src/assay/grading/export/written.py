"""Submissions in one of the formats, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from assay.grading.brief import brief_of
from assay.grading.export import csv, json, junit
from assay.grading.export.rows import Row, row_of
from assay.grading.results import Result

if TYPE_CHECKING:
    from assay.storage.submissions.results import Known


class Format(StrEnum):
    """How results are written."""

    JSON = "json"
    CSV = "csv"
    JUNIT = "junit"


TYPES: Final[Mapping[Format, str]] = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv; charset=utf-8; header=present",
    Format.JUNIT: "application/xml",
}
"""Their media types."""
ENDINGS: Final[Mapping[Format, str]] = {
    Format.JSON: "json", Format.CSV: "csv", Format.JUNIT: "xml"
}  # fmt: skip
Seen = Callable[[Result], Result]
"""From a whole result to what the reader may see of it."""


async def written(
    each: AsyncIterator[Known], form: Format, *, name: str, seen: Seen = lambda whole: whole
) -> AsyncIterator[bytes]:
    """The document's pieces; together they are whole only if nothing was raised."""
    if form is Format.JSON:
        yield json.HEAD
    else:
        yield csv.head() if form is Format.CSV else junit.head(name)
    first = True
    async for known in each:
        if form is Format.CSV:
            yield csv.row(known.submission, brief_of(known.result))
        else:
            row = _seen(row_of(known), seen)
            yield json.row(row, first=first) if form is Format.JSON else junit.suite_of(row)
        first = False
    if form is not Format.CSV:
        yield json.TAIL if form is Format.JSON else junit.TAIL


def _seen(row: Row, seen: Seen) -> Row:
    return row if row.result is None else replace(row, result=seen(row.result))
