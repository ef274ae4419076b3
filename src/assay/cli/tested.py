"""One recorded submission, and what it is worth now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """Of any kind of task."""

    task: str
    name: str
    problems: tuple[str, ...] = ()
    """Where that is not what was recorded."""
    verdict: str = ""
    grade: float | None = None
    seconds: float = 0.0
    detail: str = ""
    """For teachers, where there is no grade."""
    remarks: tuple[str, ...] = ()
    """What there is of the task that was not taken into account."""


OnTested = Callable[[Tested], object]


def as_data(tested: Tested) -> dict[str, Any]:
    """One as JSON has it."""
    return {
        "task": tested.task,
        "name": tested.name,
        "passed": not tested.problems,
        "problems": list(tested.problems),
        "verdict": tested.verdict,
        "grade": tested.grade,
        "seconds": round(tested.seconds, 3),
        "detail": tested.detail,
        "remarks": list(tested.remarks),
    }
