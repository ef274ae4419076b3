"""Results of gradings as the API has them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

import msgspec

from assay.api.results import OutcomeAnswer, to_outcome
from assay.domain.limits import ExecutionLimits
from assay.grading.record import Record, Used
from assay.grading.results import Archive, Delays, PartResult, Result, TestResult

ARCHIVE_NAME: Final = "archive.tar.gz"


class TestAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """One test of a part."""

    name: str
    verdict: str
    score: float
    """From 0 to 1."""
    weight: float
    hidden: bool
    message: str
    """Markdown, for the learner."""
    detail: str
    """Markdown, for teachers; empty for others."""
    outcome: OutcomeAnswer | None
    wall_ms: float | None
    cpu_ms: float | None
    peak_memory_bytes: int | None


class PartResultAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """One part of a task."""

    id: str
    verdict: str
    score: float
    weight: float
    message: str
    tests: list[TestAnswer]


class DelaysAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """Where the time went, in milliseconds."""

    sending_ms: float
    waiting_ms: float
    booting_ms: float
    grading_ms: float
    response_ms: float


class SandboxLimitsAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What the sandboxes might use."""

    memory_bytes: int
    processes: int
    cpus: float
    disk_bytes: int
    inodes: int


class RunLimitsAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What one execution might use; null: no limit of its own."""

    wall_seconds: float | None
    cpu_seconds: float | None
    output_bytes: int | None
    open_files: int | None


class UsedAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """The sandboxes of one environment that a grading had."""

    environment: str
    image: str
    """Empty: that of the environment's language."""
    digest: str
    """Of the image's contents; of this machine's own programs: of the packages installed."""
    sandbox: SandboxLimitsAnswer
    execution: RunLimitsAnswer


class RecordAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What a grade depends on besides what was handed in."""

    grader: str
    """The version of Assay."""
    digest: str
    """Of the version of the task."""
    seed: int
    factor: float
    """What it counted, being late."""
    limits: dict[str, RunLimitsAnswer]
    """Of the learner's "program", and of what "tests" call."""
    used: list[UsedAnswer]
    inputs: dict[str, str]
    """What a grader of INGInious' was told of earlier submissions, and when it was handed in."""


class ArchiveAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """Files that a grader of the teacher's own has kept: GET `/submissions/{id}/archive`."""

    name: str
    size: int
    """In bytes."""
    digest: str
    """"sha256:" and 64 hexadecimal digits."""


class ResultAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What a submission is worth. With the verdict "error" there is no grade."""

    verdict: str
    grade: float | None
    """From 0 to 100."""
    message: str
    detail: str
    parts: list[PartResultAnswer]
    custom: dict[str, Any]
    """What a grader of the teacher's own has to say besides; for teachers."""
    tags: dict[str, bool | str]
    """Of a task of INGInious, with whether they hold; for learners those that are visible."""
    stdout: str
    """Of a grader of the teacher's own; for teachers."""
    stderr: str
    delays: DelaysAnswer
    record: RecordAnswer | None
    """What the grade depends on; null for learners, and where that was not noted."""
    archive: ArchiveAnswer | None
    """That there is one; null for learners."""


def to_result(result: Result) -> ResultAnswer:
    """The whole."""
    return ResultAnswer(
        verdict=result.verdict,
        grade=result.grade,
        message=result.message,
        detail=result.detail,
        parts=[to_part(part) for part in result.parts],
        custom=dict(result.custom),
        tags=dict(result.tags),
        stdout=result.stdout,
        stderr=result.stderr,
        delays=_delays(result.delays),
        record=None if result.record is None else to_record(result.record),
        archive=None if result.archive is None else _archive(result.archive),
    )


def _archive(archive: Archive) -> ArchiveAnswer:
    return ArchiveAnswer(name=ARCHIVE_NAME, size=archive.size, digest=archive.digest)


def to_part(part: PartResult) -> PartResultAnswer:
    """One part."""
    return PartResultAnswer(
        id=part.id,
        verdict=part.verdict,
        score=part.score,
        weight=part.weight,
        message=part.message,
        tests=[_test(test) for test in part.tests],
    )


def to_record(record: Record) -> RecordAnswer:
    """What a grade depends on."""
    return RecordAnswer(
        grader=record.grader,
        digest=record.digest,
        seed=record.seed,
        factor=record.factor,
        limits={name: _run_limits(limits) for name, limits in record.limits.items()},
        used=[_used(each) for each in record.used],
        inputs=dict(record.inputs),
    )


def _used(used: Used) -> UsedAnswer:
    return UsedAnswer(
        environment=used.environment,
        image=used.image,
        digest=used.digest,
        sandbox=SandboxLimitsAnswer(**asdict(used.sandbox)),
        execution=_run_limits(used.execution),
    )


def _run_limits(limits: ExecutionLimits) -> RunLimitsAnswer:
    return RunLimitsAnswer(**asdict(limits))


def _test(test: TestResult) -> TestAnswer:
    return TestAnswer(
        name=test.name,
        verdict=test.verdict,
        score=test.score,
        weight=test.weight,
        hidden=test.hidden,
        message=test.message,
        detail=test.detail,
        outcome=None if test.outcome is None else to_outcome(test.outcome),
        wall_ms=_ms(test.wall_seconds),
        cpu_ms=_ms(test.cpu_seconds),
        peak_memory_bytes=test.peak_memory_bytes,
    )


def _delays(delays: Delays) -> DelaysAnswer:
    return DelaysAnswer(
        sending_ms=1000 * delays.sending,
        waiting_ms=1000 * delays.waiting,
        booting_ms=1000 * delays.booting,
        grading_ms=1000 * delays.grading,
        response_ms=1000 * delays.response,
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 3)
