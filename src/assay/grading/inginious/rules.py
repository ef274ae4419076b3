"""When and how often a task of INGInious may be handed in: what its course and it say of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from assay.domain.errors import InvalidTask
from assay.grading.tasks import LateFactor, Rules

_FORMS: Final = ("%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%d/%m/%Y %H", "%d/%m/%Y")
_NEVER: Final = datetime(9999, 12, 30, tzinfo=UTC)


def rules_of(of_task: Mapping[str, Any], of_course: object, *, archived: bool, where: str) -> Rules:
    """Open when both are. Times without a zone are this machine's. Raises InvalidTask."""
    task = accessible(of_task.get("accessible", True), where)
    course = accessible(of_course, f"{where}: accessible of the course")
    both = together(task, course)
    amount, hours = _limit(of_task.get("submission_limit"), where)
    return replace(both, attempts=amount, per_hours=hours, closed=both.closed or archived)


def accessible(said: object, where: str) -> Rules:
    """Yes, no, "START", "START/END" or "START/SOFT END/END"; a time left out is no limit."""
    if said is None or said is True or said == "":
        return Rules()
    if said is False:
        return Rules(closed=True)
    times = [_time(each.strip(), where) for each in str(said).split("/")]
    if len(times) > 3:
        raise InvalidTask(f"{where}: accessible: {str(said)[:80]!r} has more than three times")
    opens, last = times[0], times[-1] if len(times) > 1 else None
    soft = times[1] if len(times) == 3 else None
    if soft is None or (last is not None and soft >= last):
        return Rules(opens=opens, deadline=last)
    # After the soft end it counts as before: there it is only shown.
    return Rules(opens=opens, deadline=soft, late=_until(last, soft))


def together(one: Rules, other: Rules) -> Rules:
    """When both are open."""
    opens = max((each for each in (one.opens, other.opens) if each), default=None)
    end = min((each for each in (_end(one), _end(other)) if each), default=None)
    deadlines = [each for each in (one.deadline, other.deadline, end) if each]
    deadline = min(deadlines, default=None)
    late = _until(end, deadline) if deadline and (end is None or end > deadline) else ()
    closed = one.closed or other.closed
    return Rules(opens=opens, deadline=deadline, late=late, closed=closed)


def _until(end: datetime | None, deadline: datetime) -> tuple[LateFactor, ...]:
    return (LateFactor(until=end or _NEVER.replace(tzinfo=deadline.tzinfo), factor=1.0),)


def _end(rules: Rules) -> datetime | None:
    return rules.late[-1].until if rules.late else rules.deadline


def moment(text: str) -> datetime:
    """A time as INGInious reads it, without a zone in this machine's. Raises ValueError."""
    for form in _FORMS:
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, form).astimezone()  # the zone is this machine's
    return datetime.fromisoformat(text).astimezone()


def _time(text: str, where: str) -> datetime | None:
    if not text:
        return None
    try:
        return moment(text)
    except (ValueError, OverflowError) as error:
        raise InvalidTask(
            f"{where}: accessible: {text[:80]!r} is no time; write it as 2027-01-31 23:59:00"
        ) from error


def _limit(said: object, where: str) -> tuple[int | None, float | None]:
    if said is None or said == "":
        return None, None
    if not isinstance(said, dict):
        raise InvalidTask(f"{where}: submission_limit has an amount, and a period in hours")
    amount, period = (_whole(said.get(key, -1), where) for key in ("amount", "period"))
    return (amount if amount >= 0 else None), (float(period) if period > 0 else None)


def _whole(value: object, where: str) -> int:
    try:
        return int(str(value))
    except ValueError as error:
        raise InvalidTask(f"{where}: submission_limit: {str(value)[:80]!r} is no number") from error
