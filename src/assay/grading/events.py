"""What the queue's workers tell an observer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """A submission has its result."""

    submission: str
    course: str
    task: str
    regrade: bool
    """A campaign grades it again: nobody waits for it."""
    waited_seconds: float
    """From when it was handed in until it was handed out."""
    seconds: float
    """What grading it took."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GradingFailed:
    """An attempt failed, and not by the learner's fault: the submission is tried again."""

    submission: str
    course: str
    task: str
    regrade: bool
    attempts: int
    reason: str
    again_after_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GradingGivenUp:
    """Nothing helped: a submission is over without a grade, and somebody has to look."""

    submission: str
    course: str
    task: str
    regrade: bool
    attempts: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimLost:
    """A worker had a submission no more: it was cancelled, or somebody else has it."""

    submission: str


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerLost:
    """Somebody who had submissions was not heard of for too long: others get them."""

    submissions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Forgotten:
    """Submissions were removed, for they were over long enough ago."""

    submissions: int


Event = Graded | GradingFailed | GradingGivenUp | ClaimLost | WorkerLost | Forgotten
