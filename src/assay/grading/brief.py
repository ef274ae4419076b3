"""What a result says in short: all else of it may be megabytes of text, and is passed over."""

from __future__ import annotations

import msgspec

from assay.grading.record import Record
from assay.grading.results import Verdict


class BriefPart(msgspec.Struct, frozen=True):
    """One part of a task."""

    id: str
    verdict: Verdict
    score: float
    """From 0 to 1."""


class Brief(msgspec.Struct, frozen=True):
    """The whole."""

    verdict: Verdict
    grade: float | None = None
    """From 0 to 100; None: there is none."""
    detail: str = ""
    """What went wrong with the task or the machine."""
    parts: tuple[BriefPart, ...] = ()
    record: Record | None = None


def brief_of(result: bytes | None) -> Brief | None:
    """A Result as JSON, in short; None: there is none."""
    return None if result is None else msgspec.json.decode(result, type=Brief)
