"""How long a submission will wait, as far as that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from assay.domain.line import Line
from assay.grading.queue.order import step_of, unknown_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """What can be said to who waits. None is unknown, and to be shown as that."""

    ahead: int
    """Submissions that are handed out before, if nobody else comes."""
    slots: int
    """How many are graded at once."""
    wait_seconds: float | None
    """Until its grading begins."""
    grading_seconds: float | None
    """What gradings of its course take on average."""


def outlook(mine: Line, before: int, lines: Sequence[Line], *, leased: int, slots: int) -> Outlook:
    """For the submission that has so many `before` it in its own line, `mine`, which is in `lines`.

    `leased` are being graded now.
    """
    ahead = {line: _ahead(line, mine, before, unknown_seconds(lines)) for line in lines}
    count = sum(ahead.values())
    return Outlook(
        ahead=count,
        slots=slots,
        wait_seconds=_wait(ahead, leased, slots),
        grading_seconds=mine.seconds,
    )


def _ahead(line: Line, mine: Line, before: int, unknown: float) -> int:
    """How many of a line come before the submission."""
    if line.priority != mine.priority:
        return line.waiting if line.priority < mine.priority else 0
    if line.course == mine.course:
        return before
    due = mine.due + before * step_of(mine, unknown)
    if line.due > due or (line.due == due and line.course > mine.course):
        return 0
    steps = (due - line.due) / step_of(line, unknown)
    # At the same moment, the course whose name comes first goes first.
    count = math.floor(steps) + 1 if line.course < mine.course else math.ceil(steps)
    return min(count, line.waiting)


def _wait(ahead: dict[Line, int], leased: int, slots: int) -> float | None:
    count = sum(ahead.values())
    if slots == 0:
        return None
    if count + leased < slots:
        return 0.0
    known = [line for line in ahead if line.seconds is not None]
    if not known:
        return None
    mean = unknown_seconds(known)
    work = sum(
        number * (mean if line.seconds is None else line.seconds) for line, number in ahead.items()
    )
    return (work + leased * mean / 2) / slots  # what is being graded is half done, on average
