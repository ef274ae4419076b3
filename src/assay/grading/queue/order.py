"""Whose submission is handed out next.

A lower priority only when the higher one is empty. Courses share what is left by weight: each line
has a time on a virtual clock at which it is due, and moves on by what its grading takes, divided by
its weight. The learners of a course take turns: in each turn everybody who has something has one.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from assay.domain.line import Admission, Line, LineKey, Newcomer, Share, Timing

UNKNOWN_SECONDS: Final = 1.0
"""What a grading is taken to last as long as none was ever measured."""
_NEWEST: Final = 0.1
"""The part that one more grading has in its course's mean."""


def admit(
    newcomers: Sequence[Newcomer],
    lines: Mapping[LineKey, Line],
    served: Mapping[int, float],
    last_turns: Mapping[Newcomer, int],
) -> Admission:
    """Give each newcomer a turn: after the one that goes on, and after all of its learner's own.

    `lines` has at least those of the newcomers, unless they are new; `served` the virtual time of
    each priority: the latest `served` of its lines; `last_turns` the last turn in which a learner
    has something waiting. Nobody joins the turn that goes on: so it ends, however many come.
    """
    changed: dict[LineKey, Line] = {}
    last = dict(last_turns)
    turns = []
    for newcomer in newcomers:
        key = newcomer.line
        line = changed.get(key) or lines.get(key) or Line(course=key.course, priority=key.priority)
        changed[key] = joined(line, served.get(key.priority, 0.0))
        turn = max(line.turn, last.get(newcomer, 0)) + 1
        last[newcomer] = turn
        turns.append(turn)
    return Admission(turns=tuple(turns), lines=tuple(changed.values()))


def joined(line: Line, served: float) -> Line:
    """The line with one more. One that was empty saves nothing up for having been so."""
    due = line.due if line.waiting else max(line.due, served)
    return replace(line, waiting=line.waiting + 1, due=due)


def choose(lines: Sequence[Line], count: int) -> list[Share]:
    """How many to take of each line, `count` in all, or all that there are."""
    shares: dict[LineKey, Share] = {}
    for priority in sorted({line.priority for line in lines if line.waiting}):
        those = [line for line in lines if line.priority == priority and line.waiting]
        for line in _in_order(those, count, unknown_seconds(lines)):
            key = LineKey(priority, line.course)
            taken = shares[key].take if key in shares else 0
            shares[key] = Share(line=line, take=taken + 1)
            count -= 1
    return list(shares.values())


def _in_order(lines: Sequence[Line], count: int, unknown: float) -> list[Line]:
    """The lines of one priority as they are after each step."""
    heap = [(line.due, line.course, line) for line in lines]
    heapq.heapify(heap)
    steps: list[Line] = []
    while heap and len(steps) < count:
        due, course, line = heap[0]
        after = replace(
            line, waiting=line.waiting - 1, served=due, due=due + step_of(line, unknown)
        )
        steps.append(after)
        if after.waiting:
            heapq.heapreplace(heap, (after.due, course, after))
        else:
            heapq.heappop(heap)
    return steps


def step_of(line: Line, unknown: float) -> float:
    """How far a line moves on the virtual clock when one of it is handed out."""
    return (unknown if line.seconds is None else line.seconds) / line.weight


def unknown_seconds(lines: Sequence[Line]) -> float:
    """What a grading of a course that was never measured is taken to last: the others' mean."""
    known = [line.seconds for line in lines if line.seconds is not None]
    return sum(known) / len(known) if known else UNKNOWN_SECONDS


def learn(seconds: float | None, timing: Timing) -> float:
    """A course's mean after some more gradings; it forgets old ones."""
    mean = max(timing.seconds / timing.gradings, 1e-3)  # never free, or one course had it all
    if seconds is None:
        return mean
    part: float = 1 - (1 - _NEWEST) ** timing.gradings
    return seconds + part * (mean - seconds)
