"""How often what is done, and about how long that takes; nothing here measures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

_SECONDS_TO_WEIGH: Final = 4.0
"""Until memory stands still, with all idle and with all gone."""
_REMOVED_AT_ONCE: Final = 16
"""Sandboxes wait for one another's end less than for one another's beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How many rounds of each."""

    at_once: Mapping[int, int]
    """Sandboxes requested at once -> rounds."""
    cycles: int
    """Lives with each of the workloads."""
    seconds_for_lives: float = 120.0
    """Of one technology, with all works: who is slower than that lives fewer times."""

    @property
    def largest(self) -> int:
        """The largest number of sandboxes."""
        return max(self.at_once)

    def amounts_for(self, most: int | None) -> tuple[int, ...]:
        """Numbers for one who can have `most`: those that are possible, and its most."""
        wanted = sorted(self.at_once)
        if most is None or most >= self.largest:
            return tuple(wanted)
        return tuple(sorted({*(count for count in wanted if count <= most), most}))

    def rounds_of(self, count: int) -> int:
        """As many as of the next larger number, for one that was not planned."""
        larger = [each for each in sorted(self.at_once) if each >= count]
        return self.at_once[larger[0] if larger else self.largest]


FULL: Final = Plan(at_once=MappingProxyType({1: 20, 10: 5, 100: 3}), cycles=5)
QUICK: Final = Plan(at_once=MappingProxyType({1: 5, 10: 2, 100: 1}), cycles=2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What the first sandbox of one took, in seconds."""

    create: float
    destroy: float
    most: int | None = None
    work: float = 0.0
    """A life with each of the workloads; 0 for who has none."""


def expected_seconds(plan: Plan, trials: Sequence[Trial]) -> float:
    """About how long all of it takes.

    Many at once take their time from one another on as many processors as there are.
    """
    return sum(_of_one(plan, trial) for trial in trials)


def _of_one(plan: Plan, trial: Trial) -> float:
    seconds = 0.0
    amounts = plan.amounts_for(trial.most)
    for count in amounts:
        create = trial.create * max(1.0, count / len(os.sched_getaffinity(0)))
        destroy = trial.destroy * max(1.0, count / _REMOVED_AT_ONCE)
        weigh = _SECONDS_TO_WEIGH if count == amounts[-1] else 0.0
        seconds += plan.rounds_of(count) * (create + destroy + weigh)
    return seconds + min(plan.cycles * trial.work, plan.seconds_for_lives + trial.work)


def in_words(seconds: float) -> str:
    """Such as "about 4 minutes"."""
    if seconds < 90:
        return "about a minute" if seconds > 45 else "less than a minute"
    return f"about {seconds / 60:.0f} minutes"
