"""What a grading says: of each test, of each part of a task, and of the whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import takewhile

import msgspec

from assay.domain.outcome import Outcome
from assay.domain.submission import KeptResult
from assay.grading.record import Record


class Verdict(StrEnum):
    """What became of a test, a part or a submission. Only PASSED and PARTIAL give marks."""

    PASSED = "passed"
    PARTIAL = "partial"
    """Some of its marks, and not all."""
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    CRASHED = "crashed"
    """The learner's program was ended by a signal, or by an exit status that is no success."""
    NOT_RUN = "not_run"
    """Something before it failed."""
    ERROR = "error"
    """The task or the machine is at fault: no mark, no attempt, and somebody has to look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TestResult:
    """One test. What a hidden one says is for teachers."""

    name: str
    verdict: Verdict
    score: float
    """From 0 to 1."""
    weight: float = 1.0
    hidden: bool = False
    message: str = ""
    """Markdown, for the learner."""
    detail: str = ""
    """Markdown, for teachers alone: of a hidden test what the message keeps to itself."""
    outcome: Outcome | None = None
    """How the learner's program ended, where there was one of its own for this test."""
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PartResult:
    """One part of a task."""

    id: str
    verdict: Verdict
    score: float
    """From 0 to 1."""
    weight: float = 1.0
    message: str = ""
    """Markdown; a compiler's words are in a code block."""
    tests: tuple[TestResult, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Delays:
    """The thesis' five delays, in seconds; a grader knows two, the queue knows the others."""

    sending: float = 0.0
    """From when the request began to arrive until the submission was durable."""
    waiting: float = 0.0
    """From then until its grading began; what failed before, and not by its fault, included."""
    booting: float = 0.0
    """For sandboxes."""
    grading: float = 0.0
    """From then on, but for booting: all that ran."""
    response: float = 0.0
    """From the end of grading until the result was durable, and with those who waited for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """Files that a grader of the teacher's own keeps, a tar compressed with gzip."""

    size: int
    """In bytes."""
    digest: str
    """"sha256:" and 64 hexadecimal digits."""
    content: bytes | None = field(default=None, repr=False)
    """None: it is kept elsewhere, for it may have 32 MiB."""


def archive_of(content: bytes) -> Archive:
    """An archive with what it holds."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Archive(size=len(content), digest=digest, content=content)


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a submission is worth.

    `grade` is from 0 to 100, and None with the verdict ERROR: whoever failed there was not the
    learner.
    """

    verdict: Verdict
    grade: float | None
    message: str = ""
    """Markdown, for the learner."""
    detail: str = ""
    """For teachers and operators: what went wrong with the task or the machine."""
    parts: tuple[PartResult, ...] = ()
    custom: Mapping[str, object] = field(default_factory=dict)
    """What a grader of the teacher's own has to say besides."""
    tags: Mapping[str, bool | str] = field(default_factory=dict)
    """Names with whether they hold; of those that a grader made up (`*auto-tag-…`), their texts."""
    stdout: str = ""
    """Of a grader of the teacher's own, for teachers: its first 64 KiB."""
    stderr: str = ""
    state: str = ""
    """What the task keeps about this learner until the next submission."""
    archive: Archive | None = None
    delays: Delays = field(default_factory=Delays)
    record: Record | None = None
    """What it depended on, for teachers; None: there was no grading, or it was one of before."""


def shown_parts(result: Result) -> Sequence[PartResult]:
    """The parts of which a learner hears, now that the grading is over."""
    return without_grade(result.parts) if result.verdict is Verdict.ERROR else result.parts


def without_grade(parts: Sequence[PartResult]) -> Sequence[PartResult]:
    """Those of which a learner hears though there is no grade: up to the first hidden test.

    What costs no attempt says nothing of hidden tests: who brings about an error after them could
    ask them as often as he likes. Later parts may have been tried because hidden ones were right.
    """
    return tuple(takewhile(lambda part: not any(test.hidden for test in part.tests), parts))


def kept(result: Result) -> KeptResult:
    """As the queue keeps it: what is asked for often beside it, and its archive apart."""
    archive = result.archive
    bare = result if archive is None else replace(result, archive=replace(archive, content=None))
    return KeptResult(
        result=msgspec.json.encode(bare),
        verdict=result.verdict,
        grade=result.grade,
        version="" if result.record is None else result.record.digest,
        archive=None if archive is None else archive.content,
    )
