"""What a pool should do next: pure functions of how things stand, the time included.

Nothing here remembers: whatever was missed, lost or half done shows in the next comparison of what
is wanted with what there is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

FIRST_DELAY: Final = 0.5
MOST_DELAY: Final = 30.0
"""Seconds until a failed creation is tried again: the first time, and at most."""
CHECK_SECONDS: Final = 30.0
"""How long an idle sandbox is believed to be well."""
EXTRA_SLOTS: Final = 1
"""Creations beyond the usual number at one time, for an environment that has none under way and
somebody waiting: nobody waits for another environment's pool to be filled first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Which of so many servers this one is, from 0 on."""

    rank: int = 0
    servers: int = 1


ALONE: Final = Position()


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """How one environment's pool stands at a moment."""

    environment: str
    target: int
    """Idle sandboxes that are wanted."""
    idle: int = 0
    """Idle sandboxes of the wanted version."""
    old: int = 0
    """Idle sandboxes of another version, or where none is to stay: nobody gets them any more."""
    creating: int = 0
    """Sandboxes of the wanted version that are being made."""
    waiting: int = 0
    """Claims that wait."""
    storm: bool = False
    """All of them are of owners who ask for much more than the others."""
    usable: bool = True
    """What its sandboxes are made of has been found on this machine."""
    retry_at: float = 0.0
    """After a failure, nothing is made before this."""
    failures: int = 0
    """Failed attempts in a row."""
    crowded: bool = False
    """The last attempt failed because there are as many sandboxes as are allowed."""
    turn: int = 0
    """When it last had its turn, as a number that grows: fairness between environments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actions:
    """What to do now."""

    create: tuple[str, ...] = ()
    """A sandbox for each of these environments, in this order."""
    destroy_idle: Mapping[str, int]
    """How many of an environment's idle sandboxes there are too many."""
    destroy_old: Mapping[str, int]
    """The same, of its sandboxes of another version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleSandbox:
    """What is known of one idle sandbox."""

    id: str
    lost: bool
    """Its connection is gone."""
    checked_at: float
    """When its agent last answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """Which idle sandboxes to remove, and which to ask whether they are well."""

    remove: tuple[str, ...] = ()
    check: tuple[str, ...] = ()


def plan(
    stands: Sequence[Stand],
    *,
    busy: int,
    slots: int,
    now: float,
    freeing: bool = False,
    growing: bool = False,
) -> Actions:
    """Compare what is wanted with what there is.

    `busy` is how many sandboxes are being made, of any version; `slots` how many may be at one
    time; `freeing`: some are on their way out; `growing`: the targets are about to rise, and no
    idle one is too many. There are never more idle ones and new ones together than the target and
    those who wait, but for those that came from elsewhere.
    """
    giving_way = None if freeing else _giving_way(stands, now)
    return Actions(
        create=_creations(stands, busy=busy, slots=slots, now=now),
        destroy_idle=_counts(
            (stand.environment, max(0 if growing else _surplus(stand), int(stand is giving_way)))
            for stand in stands
        ),
        destroy_old=_counts((stand.environment, _outdated(stand)) for stand in stands),
    )


def share(target: int, position: Position) -> int:
    """How many idle sandboxes one of several servers keeps: together they have the target."""
    return target // position.servers + (position.rank < target % position.servers)


def missing(stand: Stand, now: float) -> int:
    """How many sandboxes to begin with now, were there room for all."""
    if not stand.usable or now < stand.retry_at:
        return 0
    count = max(0, stand.target + stand.waiting - stand.idle - stand.creating)
    # While it fails, one attempt at a time is enough to find out when it no longer does.
    return min(count, max(0, 1 - stand.creating)) if stand.failures else count


def backoff(failures: int, jitter: float) -> float:
    """Seconds until the next attempt after so many failures in a row; `jitter` is from 0 to 1.

    It doubles from half a second to half a minute; the jitter takes up to half of it away, so that
    environments that failed together don't try again together.
    """
    whole = min(MOST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 32))
    return whole * (1.0 - jitter / 2.0)


def inspect(idle: Iterable[IdleSandbox], *, room: int, now: float) -> Inspection:
    """Lost ones go at once; those not heard of for longest are asked, at most `room` of them."""
    remove: list[str] = []
    due: list[IdleSandbox] = []
    for each in idle:
        if each.lost:
            remove.append(each.id)
        elif now - each.checked_at >= CHECK_SECONDS:
            due.append(each)
    due.sort(key=lambda each: each.checked_at)
    return Inspection(remove=tuple(remove), check=tuple(each.id for each in due[: max(0, room)]))


def leaving(idle: Iterable[str], told: Collection[str]) -> tuple[str, ...]:
    """Which idle sandboxes are not to stay where they are: others take their place one by one."""
    going = frozenset(told)
    return tuple(each for each in idle if each in going)


def _creations(stands: Sequence[Stand], *, busy: int, slots: int, now: float) -> tuple[str, ...]:
    waiting_for = {stand.environment: stand for stand in stands if missing(stand, now)}
    chosen: list[str] = []
    while waiting_for and (stand := _next(waiting_for.values(), busy=busy, slots=slots)):
        chosen.append(stand.environment)
        busy += 1
        last_turn = max(each.turn for each in waiting_for.values())
        stand = replace(stand, creating=stand.creating + 1, turn=last_turn + 1)
        waiting_for[stand.environment] = stand
        if not missing(stand, now):
            del waiting_for[stand.environment]
    return tuple(chosen)


def _next(stands: Iterable[Stand], *, busy: int, slots: int) -> Stand | None:
    """Whoever waits comes before refilling; then fewest at work, then longest without a turn."""
    if busy >= slots + EXTRA_SLOTS:
        return None
    if busy >= max(1, slots - 1):
        # A storm must not take every processor from those whom it keeps waiting for answers.
        stands = [stand for stand in stands if not stand.storm]
    if busy >= slots:
        stands = [stand for stand in stands if stand.waiting and not stand.creating]
    return min(
        stands,
        key=lambda stand: (stand.waiting <= stand.creating, stand.creating, stand.turn),
        default=None,
    )


def _surplus(stand: Stand) -> int:
    """While anybody waits, no sandbox is too many."""
    return 0 if stand.waiting else max(0, stand.idle - stand.target)


def _outdated(stand: Stand) -> int:
    """For each new sandbox one of another version goes, and all once the target is reached."""
    return max(0, stand.old - max(0, stand.target - stand.idle))


def _giving_way(stands: Sequence[Stand], now: float) -> Stand | None:
    """Whose idle sandbox goes because somebody waits for another one, and there is no room."""
    if not any(
        stand.crowded and stand.waiting and not stand.creating and now < stand.retry_at
        for stand in stands
    ):
        return None
    idle = (stand for stand in stands if stand.idle and not stand.waiting)
    return max(idle, key=lambda stand: stand.idle, default=None)


def _counts(counts: Iterable[tuple[str, int]]) -> dict[str, int]:
    return {environment: count for environment, count in counts if count}
