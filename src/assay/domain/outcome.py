"""The one function that judges, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from assay.domain.facts import Facts, KilledBy, Measurement
from assay.domain.limits import ExecutionLimits

SIGKILL = 9


class OutcomeKind(StrEnum):
    """The seven ways in which an execution can end."""

    EXITED = "exited"
    SIGNALED = "signaled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    OUTPUT_LIMIT = "output_limit"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an execution's end means.

    `code` belongs to EXITED, `signal` to SIGNALED, `clock` ("wall" or "cpu") to TIMED_OUT and
    `reason` to LOST.
    """

    kind: OutcomeKind
    code: int | None = None
    signal: int | None = None
    clock: str | None = None
    reason: str | None = None

    @property
    def success(self) -> bool:
        """True only for a program that ended by itself with exit code 0."""
        return self.kind is OutcomeKind.EXITED and self.code == 0

    def __str__(self) -> str:
        for value in (self.code, self.signal, self.clock, self.reason):
            if value is not None:
                return f"{self.kind}({value})"
        return str(self.kind)


def classify(facts: Facts, limits: ExecutionLimits) -> Outcome:
    """Judge how an execution ended. What is unknown is never a success.

    A limit that was passed counts even when the program ended by itself before the agent could
    kill it. An out-of-memory kill anywhere in the execution decides unless the program went on
    to end well: a compiler whose child was killed reports a failure, and memory was its cause.
    """
    if facts.killed_by is KilledBy.CANCEL:
        return Outcome(kind=OutcomeKind.CANCELLED)
    if facts.killed_by is KilledBy.OUTPUT:
        return Outcome(kind=OutcomeKind.OUTPUT_LIMIT)
    if (_value(facts.oom_kills) or 0) > 0 and facts.exit_code != 0:
        return Outcome(kind=OutcomeKind.OUT_OF_MEMORY)
    if facts.lost is not None:
        return Outcome(kind=OutcomeKind.LOST, reason=facts.lost)
    for clock, used, limit in (
        (KilledBy.CPU, facts.cpu_ns, limits.cpu_seconds),
        (KilledBy.WALL, facts.wall_ns, limits.wall_seconds),
    ):
        if facts.killed_by is clock or _passed(used, limit):
            return Outcome(kind=OutcomeKind.TIMED_OUT, clock=str(clock))
    if facts.signal is not None:
        return Outcome(kind=OutcomeKind.SIGNALED, signal=facts.signal)
    if facts.exit_code is not None:
        return Outcome(kind=OutcomeKind.EXITED, code=facts.exit_code)
    return Outcome(kind=OutcomeKind.LOST, reason="no exit status was reported")


def _value(measurement: Measurement | None) -> int | None:
    return None if measurement is None else measurement.value


def _passed(used: Measurement | None, limit_seconds: float | None) -> bool:
    return used is not None and limit_seconds is not None and used.value > limit_seconds * 1e9
