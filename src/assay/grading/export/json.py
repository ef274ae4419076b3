"""Results as JSON: one document, written piece by piece."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from assay.grading.export.rows import Row
from assay.grading.results import PartResult, TestResult


class ExportedTest(msgspec.Struct, rename="camel", kw_only=True):
    """One test of a part."""

    name: str
    verdict: str
    score: float
    """From 0 to 1."""
    weight: float
    hidden: bool
    message: str
    wall_seconds: float | None


class ExportedPart(msgspec.Struct, rename="camel", kw_only=True):
    """One part of a task."""

    id: str
    verdict: str
    score: float
    weight: float
    message: str
    tests: list[ExportedTest]


class ExportedResult(msgspec.Struct, rename="camel", kw_only=True):
    """One submission, and what it is worth."""

    submission: str
    course: str
    task: str
    learner: str
    owner: str
    """The id of the token that handed it in: two platforms may have one name for two learners."""
    state: str
    verdict: str | None
    grade: float | None
    """From 0 to 100; null: there is none."""
    submitted_at: datetime
    finished_at: datetime | None
    attempts: int
    message: str
    tags: dict[str, bool | str]
    """Of a task of INGInious, with whether they hold."""
    parts: list[ExportedPart]


class ExportedResults(msgspec.Struct, kw_only=True):
    """A course's, or a task's; by task, learner, and time."""

    results: list[ExportedResult]


HEAD = b'{"results":['
TAIL = b"]}\n"


def row(of: Row, *, first: bool) -> bytes:
    """One submission, with what is between it and the one before."""
    return (b"\n" if first else b",\n") + msgspec.json.encode(exported(of))


def exported(of: Row) -> ExportedResult:
    """One submission."""
    known, result = of.submission, of.result
    return ExportedResult(
        submission=known.id, course=known.course, task=known.task, learner=known.learner,
        owner=known.owner, state=known.state, attempts=known.attempts,
        submitted_at=_time(known.submitted_at),
        finished_at=None if known.finished_at is None else _time(known.finished_at),
        verdict=None if result is None else result.verdict,
        grade=None if result is None else result.grade,
        message="" if result is None else result.message,
        tags={} if result is None else dict(result.tags),
        parts=[] if result is None else [_part(part) for part in result.parts],
    )  # fmt: skip


def _part(part: PartResult) -> ExportedPart:
    return ExportedPart(
        id=part.id, verdict=part.verdict, score=part.score, weight=part.weight,
        message=part.message, tests=[_test(test) for test in part.tests],
    )  # fmt: skip


def _test(test: TestResult) -> ExportedTest:
    return ExportedTest(
        name=test.name, verdict=test.verdict, score=test.score, weight=test.weight,
        hidden=test.hidden, message=test.message, wall_seconds=test.wall_seconds,
    )  # fmt: skip


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
