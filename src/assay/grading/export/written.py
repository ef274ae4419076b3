"""Rows in one of the formats, piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Final

from assay.grading.export import csv, json, junit
from assay.grading.export.rows import Row


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


async def written(rows: AsyncIterator[Row], form: Format, *, name: str) -> AsyncIterator[bytes]:
    """The document's pieces; together they are whole only if nothing was raised."""
    if form is Format.JSON:
        yield json.HEAD
    else:
        yield csv.head() if form is Format.CSV else junit.head(name)
    first = True
    async for each in rows:
        if form is Format.JSON:
            yield json.row(each, first=first)
        else:
            yield csv.row(each) if form is Format.CSV else junit.suite_of(each)
        first = False
    if form is not Format.CSV:
        yield json.TAIL if form is Format.JSON else junit.TAIL
