"""What is wrong with a task, as far as reading it says: functions of a task."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from msgspec import UNSET

from assay.grading.tasks.model import Cases, Compiles, Match, Task, UnitTests

RUNNING = Cases | Compiles | UnitTests
"""Parts that run, or compile, what is handed in."""


class Severity(StrEnum):
    """Whether a task can be published as it is."""

    ERROR = "error"
    WARNING = "warning"
    """It can, and its author should look."""
    NOTE = "note"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong."""

    code: str
    """Never changes; docs/tasks.md has them all."""
    severity: Severity
    message: str
    remedy: str


def error(code: str, message: str, remedy: str) -> Finding:
    """One for which the task fails."""
    return Finding(code=code, severity=Severity.ERROR, message=message, remedy=remedy)


def warning(code: str, message: str, remedy: str) -> Finding:
    """One to look at."""
    return Finding(code=code, severity=Severity.WARNING, message=message, remedy=remedy)


def note(code: str, message: str, remedy: str) -> Finding:
    """One to know."""
    return Finding(code=code, severity=Severity.NOTE, message=message, remedy=remedy)


def read(task: Task, now: datetime) -> list[Finding]:
    """All that can be said of a task without running anything."""
    return [*_of_texts(task), *_of_limits(task), *_of_weights(task), *_of_times(task, now)]


def runs_programs(task: Task) -> bool:
    """Whether anything of a learner's is run."""
    return any(isinstance(part, RUNNING) for part in task.parts)


def _of_texts(task: Task) -> Iterator[Finding]:
    if not task.description.strip():
        yield warning(
            "no-description",
            "learners don't see what to do: there is no description.md, or nothing in it",
            "write it, in Markdown, beside task.toml",
        )
    if runs_programs(task) and not task.solution:
        yield error(
            "no-solution",
            "there is no reference solution, so nobody knows that the task can be solved",
            f"put {', '.join(task.files)} into the folder solution",
        )
    cases = [part for part in task.parts if isinstance(part, Cases)]
    if cases and all(map(_all_seen, cases)):
        yield warning(
            "all-seen",
            "learners see every case, and can print what they expect",
            "say hidden = true of some cases, or add [parts.random]",
        )


def _all_seen(part: Cases) -> bool:
    return part.random is None and not any(case.hidden for case in part.cases)


def _of_limits(task: Task) -> Iterator[Finding]:
    if not runs_programs(task):
        return
    said = (
        ("limits.wall_seconds", task.limits.wall_seconds),
        ("limits.cpu_seconds", task.limits.cpu_seconds),
        ("sandbox.memory", task.sandbox.memory),
    )
    missing = [name for name, value in said if value is UNSET]
    if missing:
        yield warning(
            "no-limits",
            f"nothing is said of {', '.join(missing)}, so the environment's limits hold:"
            " they are made for any program, and a slow one takes a grader's time",
            "give [limits] wall_seconds and cpu_seconds, and [sandbox] memory",
        )


def _of_weights(task: Task) -> Iterator[Finding]:
    for part in task.parts:
        if part.weight == 0:
            yield note(
                "no-weight",
                f"{part.id!r} has the weight 0: it gives feedback, and no marks",
                "if that is not meant, leave the weight out, or write another one",
            )
        if isinstance(part, Cases):
            yield from _of_cases(part)
    weights = [part.weight for part in task.parts if part.weight]
    yield from _uneven("parts", weights)


def _of_cases(part: Cases) -> Iterator[Finding]:
    weights = [case.weight for case in part.cases] + [1.0] * (
        part.random.count if part.random else 0
    )
    if not any(weights):
        yield error(
            "no-weight",
            f"no case of {part.id!r} has a weight, so nobody can have marks for it",
            "give at least one of them a weight above 0",
        )
    yield from _uneven(f"cases of {part.id!r}", [weight for weight in weights if weight])


def _uneven(what: str, weights: Sequence[float]) -> Iterator[Finding]:
    if weights and max(weights) > 100 * min(weights):
        yield warning(
            "uneven-weights",
            f"of the {what} one has more than a hundred times another one's weight",
            "weights are shares of the whole: write 1, 2, 3",
        )


def _of_times(task: Task, now: datetime) -> Iterator[Finding]:
    rules = task.rules
    last = rules.late[-1].until if rules.late else rules.deadline
    if last is not None and last < now:
        yield warning(
            "deadline-over",
            f"nobody can submit any more: the deadline was {last.isoformat()}",
            "give rules.deadline another time, or leave it out",
        )


def unanswered(task: Task, answers: Collection[str]) -> Iterator[Finding]:
    """Questions to which no right answer is known."""
    for part in task.parts:
        if isinstance(part, Match) and part.pattern and part.id not in answers:
            yield warning(
                "no-answer",
                f"no answer that the patterns of {part.id!r} take is known, so none was tried",
                f'record one in tests/NAME/expected.toml: [answers] {part.id} = "…"',
            )
