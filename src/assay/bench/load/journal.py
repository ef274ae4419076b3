"""What happened to each execution and each request, as numbers in columns."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

NEVER: Final = -1.0
PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)


class Journal(msgspec.Struct, kw_only=True):
    """Of executions; seconds since the job began, NEVER (-1) where it did not come to that."""

    scheduled: list[float] = []
    """When it was to arrive: what is promised counts from here."""
    dispatched: list[float] = []
    """When the generator got round to it."""
    seated: list[float] = []
    """When one of the learners was at rest, to run it."""
    first: list[float] = []
    """The first byte of its output."""
    ended: list[float] = []
    kind: list[int] = []
    """Which of the mix."""
    problem: list[str] = []
    """ "" if all was as it must be."""

    def add(self, *, scheduled: float, kind: int) -> int:
        """A new one; returns its number."""
        self.scheduled.append(scheduled)
        for column in (self.dispatched, self.seated, self.first, self.ended):
            column.append(NEVER)
        self.kind.append(kind)
        self.problem.append("did not end")
        return len(self.scheduled) - 1

    @property
    def errors(self) -> dict[str, int]:
        """How often which problem."""
        return dict(Counter(problem for problem in self.problem if problem))


class Requests(msgspec.Struct, kw_only=True):
    """Of one sort: when each was to be sent, and how long after that its answer came."""

    scheduled: list[float] = []
    seconds: list[float] = []
    problem: list[str] = []

    def add(self, scheduled: float, seconds: float, problem: str = "") -> None:
        """One that was answered, or failed."""
        self.scheduled.append(scheduled)
        self.seconds.append(seconds)
        self.problem.append(problem)

    @property
    def errors(self) -> dict[str, int]:
        """How often which problem."""
        return dict(Counter(problem for problem in self.problem if problem))

    @property
    def good(self) -> list[float]:
        """Seconds of those that went well."""
        return [
            seconds for seconds, problem in zip(self.seconds, self.problem, strict=True)
            if not problem
        ]  # fmt: skip


class Result(msgspec.Struct, kw_only=True):
    """What a job came to."""

    seconds: float
    executions: Journal = msgspec.field(default_factory=Journal)
    claims: Requests = msgspec.field(default_factory=Requests)
    releases: Requests = msgspec.field(default_factory=Requests)
    others: Requests = msgspec.field(default_factory=Requests)
    """A storm's own claims; keys and their echoes."""
    resumed: int = 0
    """Streams that were connected again."""
    repeated: int = 0
    """Requests that were sent again."""
    unanswered: int = 0
    """Requests for a lease whose answer was lost: the server may have given one."""
    most_at_once: int = 0
    runners: int = 0
    """Held at the end."""
    stopped: bool = False
    """Somebody ended it early."""


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest that at least so many percent do not exceed; of ascending numbers."""
    if not ordered:
        return math.nan
    return ordered[max(math.ceil(len(ordered) * percent / 100), 1) - 1]


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Count, percentiles and the largest."""
    ordered = sorted(samples)
    found: dict[str, Any] = {"count": len(ordered)}
    for percent in PERCENTILES:
        found[f"p{percent:g}"] = percentile(ordered, percent) if ordered else None
    found["max"] = ordered[-1] if ordered else None
    return found
