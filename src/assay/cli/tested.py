"""One recorded submission, and what it is worth now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final


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
    said: str = ""
    """What the grader said of the whole, where something is otherwise: why, more often than not."""
    remarks: tuple[str, ...] = ()
    """What there is of the task that was not taken into account."""


_LINES_MOST: Final = 20
_LINE_MOST: Final = 200


def said_now(said: str) -> list[str]:
    """As a terminal may have it: its first lines."""
    written = [line for line in said.splitlines() if line.strip()]
    if not written:
        return []
    shown = [_printable(line[:_LINE_MOST]) for line in written[:_LINES_MOST]]
    more = (
        []
        if len(written) <= _LINES_MOST and max(map(len, written)) <= _LINE_MOST
        else ["  … (all of it: --json)"]
    )
    return ["the grader says now:", *(f"  {line}" for line in shown), *more]


def _printable(line: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in line.expandtabs(4))


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
        "said": tested.said,
        "remarks": list(tested.remarks),
    }
