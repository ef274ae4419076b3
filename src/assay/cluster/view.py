"""Which servers live and which are silent: pure functions of what the database says.

Every time is in seconds on the database's clock, so that no two servers have to agree on another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from assay.storage.records import NOTHING, Held, ServerRecord

BEAT_SECONDS: Final = 1.0
"""A server says that it lives so often."""
LAPSED_SECONDS: Final = 5.0
"""One that was not heard of for longer is given up."""
GRACE_SECONDS: Final = 3.0
"""Who was away itself, or with the database, waits so long before it gives others up: they may
just be coming back as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """How one server sees all of them, at its last heartbeat."""

    at: float = 0.0
    """When that was."""
    since: float = 0.0
    """Since when it has heard without a break."""
    servers: tuple[ServerRecord, ...] = ()
    """All that the database names, this one with them."""
    living: tuple[ServerRecord, ...] = ()
    """Those that are not silent, by their ids."""
    others_hold: Mapping[str, Held] = field(default_factory=dict)
    """How much of each token's is at the other ones."""
    spent_elsewhere: Mapping[str, float] = field(default_factory=dict)
    """Seconds of each token's rate that were taken at the other ones since the view before."""


def look(servers: Iterable[ServerRecord], *, me: str, now: float, before: View) -> View:
    """See anew: a break in one's own heartbeats is none in the others'."""
    servers = tuple(servers)
    since = before.since if now - before.at <= LAPSED_SECONDS else now
    living = tuple(
        each for each in servers if each.id == me or not is_silent(each, now=now, since=since)
    )
    return View(
        at=now,
        since=since,
        servers=servers,
        living=tuple(sorted(living, key=lambda each: each.id)),
        others_hold=_sums(each.held for each in living if each.id != me),
        spent_elsewhere=_spent(
            {each.id: each for each in before.servers}, (each for each in living if each.id != me)
        ),
    )


def is_silent(server: ServerRecord, *, now: float, since: float) -> bool:
    """Whether a server is to be given up: it has let go itself, or was not heard of for too long.

    `since`: when whoever judges began to hear of servers without a break.
    """
    if server.heartbeat_at == 0.0:
        return True
    return now - server.heartbeat_at > LAPSED_SECONDS and now - since >= GRACE_SECONDS


def heirless(view: View, me: ServerRecord) -> tuple[ServerRecord, ...]:
    """Silent servers whose sandboxes this one can reach."""
    living = {each.id for each in view.living}
    return tuple(each for each in view.servers if each.id not in living and each.place == me.place)


def rank(view: View, me: str) -> tuple[int, int]:
    """Which of the servers that take requests this one is, from 0 on, and how many those are."""
    ids = [each.id for each in view.living if not each.draining or each.id == me]
    return (ids.index(me), len(ids)) if me in ids else (0, 1)


def has_heir(view: View, me: ServerRecord) -> bool:
    """Whether another server lives that can reach this one's sandboxes, and does not drain."""
    return any(
        each.id != me.id and each.place == me.place and not each.draining for each in view.living
    )


def _spent(before: Mapping[str, ServerRecord], now: Iterable[ServerRecord]) -> dict[str, float]:
    """What is new. Since when a server has counted that was not seen before, isn't known."""
    spent: dict[str, float] = {}
    for server in now:
        if server.id not in before:
            continue
        for token, held in server.held.items():
            former = before[server.id].held.get(token, NOTHING).spent
            # Less than before: it was quiet meanwhile, and has begun with 0 again.
            new = held.spent - former if held.spent >= former else held.spent
            if new > 0:
                spent[token] = spent.get(token, 0.0) + new
    return spent


def _sums(held: Iterable[Mapping[str, Held]]) -> dict[str, Held]:
    sums: dict[str, Held] = {}
    for each in held:
        for token, more in each.items():
            so_far = sums.get(token, NOTHING)
            sums[token] = Held(
                runners=so_far.runners + more.runners,
                executions=so_far.executions + more.executions,
            )
    return sums
