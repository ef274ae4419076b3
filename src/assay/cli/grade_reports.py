"""What `assay grade` writes for other programs, as `assay results` does of a server's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from assay.cli.grade_record import Work
from assay.domain.submission import Priority, State, Submission
from assay.grading.brief import brief_of
from assay.grading.export import csv, junit
from assay.grading.export.rows import Row
from assay.grading.results import Result


def row_of(work: Work, result: Result, *, course: str, files: Sequence[Path]) -> Row:
    """One grading as a submission that no server has; in a learner's place is what was graded."""
    submission = Submission(
        id="", owner="", key=None, priority=Priority.LIVE, state=State.DONE, attempts=1, claim=1,
        course=course, task=work.task.id,
        learner=" ".join(path.name for path in files) or "solution",
        submitted_at=work.submitted_at, finished_at=time.time(), environment=work.task.environment,
        task_hash=work.digest, seed=work.seed, not_before=None, claimed_at=None,
        seconds=result.delays.grading,
    )  # fmt: skip
    return Row(submission=submission, result=result)


def as_junit(row: Row) -> bytes:
    """A suite of its tests, in the XML that continuous integration reads."""
    return junit.head(row.submission.task) + junit.suite_of(row) + junit.TAIL


def as_csv(row: Row) -> bytes:
    """The names of the columns, and a line."""
    brief = brief_of(msgspec.json.encode(row.result))
    return csv.head() + csv.row(row.submission, brief)
