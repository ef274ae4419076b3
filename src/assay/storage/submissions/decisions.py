"""What the store asks others to decide; it fetches what they need, and does what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from assay.domain.line import Admission, Line, LineKey, Newcomer, Share, Timing
from assay.domain.submission import KeptResult, Submission


class Admit(Protocol):
    """Give newcomers their turns."""

    def __call__(
        self,
        newcomers: Sequence[Newcomer],
        lines: Mapping[LineKey, Line],
        served: Mapping[int, float],
        last_turns: Mapping[Newcomer, int],
        /,
    ) -> Admission:
        """`served`: of each priority, the latest of its lines."""


class Used(Protocol):
    """How many of earlier attempts use up what a task allows now."""

    def __call__(self, times: Sequence[float], hours: float | None, now: float, /) -> int:
        """`times`: when each was handed in, the first first; `hours`: of a period."""


class Choose(Protocol):
    """Say how many of each line are next."""

    def __call__(self, lines: Sequence[Line], count: int, /) -> Sequence[Share]:
        """`lines`: all in which something waits."""


class Join(Protocol):
    """A line with one more, which takes no turn."""

    def __call__(self, line: Line, served: float, /) -> Line:
        """`served`: of its priority."""


class Learn(Protocol):
    """A course's mean after more gradings."""

    def __call__(self, seconds: float | None, timing: Timing, /) -> float:
        """`seconds`: the mean before."""


class Abandon(Protocol):
    """What becomes of a submission whose worker is gone."""

    def __call__(self, submission: Submission, /) -> float | KeptResult:
        """Seconds until it is tried again, or its result: it is over, without a grade.

        It was handed out for its `attempts`th time.
        """


class Watch(Protocol):
    """Look at both clocks; whether leases that are over are so because of their workers."""

    def __call__(self, *, clock: float, monotonic: float) -> bool:
        """`clock`: the database's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decisions:
    """All of them."""

    admit: Admit
    choose: Choose
    join: Join
    learn: Learn
    used: Used
    abandon: Abandon
    watch: Watch
    lease_seconds: float
    longest_delay_seconds: float
    """No retry is further away, unless the clock has jumped."""
