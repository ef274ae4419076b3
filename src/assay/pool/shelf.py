"""One environment's pool: its stock, who waits for it, and how making goes. No I/O, no clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from assay.agent.session import Session
from assay.domain.errors import AssayError, CapacityExceeded
from assay.environments.served import Blueprint, Origin, ServedEnvironment
from assay.pool.events import PoolStatistics
from assay.pool.plan import ALONE, IdleSandbox, Position, Stand, backoff, share
from assay.pool.queue import FairQueue, RecentClaims, greedy, kept_back
from assay.storage.records import SandboxRecord

AT_ONCE: Final = 2
"""Interpreters that are begun with for each sandbox that comes: so those that came while there was
hurry have theirs by the time that the stock is whole."""


@dataclass(kw_only=True, slots=True, eq=False)
class Idle:
    """A sandbox that nobody has had."""

    session: Session
    record: SandboxRecord
    blueprint: Blueprint
    created_at: float
    checked_at: float
    """On the event loop's clock, like every time in here."""
    checking: bool = False
    asked: bool = False
    """Whether its interpreter was asked for, if it is to have one."""

    def keep_interpreter(self) -> None:
        """Let its interpreter wait for the first program, where there is one to wait."""
        self.asked = True
        interpreter = self.blueprint.interpreter()
        if interpreter is not None and not self.lost:
            self.session.agent.keep_interpreter(interpreter)

    @property
    def lost(self) -> bool:
        """Its connection is gone."""
        return self.session.agent.lost is not None


@dataclass(kw_only=True, slots=True, eq=False)
class Ticket:
    """Somebody who wants a sandbox; `given` becomes it, or why there is none."""

    owner: str
    given: asyncio.Future[Idle]


@dataclass(kw_only=True, slots=True, eq=False)
class Shelf:
    """The pool of one environment. `blueprint` is None until it was found."""

    environment: ServedEnvironment
    position: Position = ALONE
    """Which of several servers this one is: each keeps its share."""
    blueprint: Blueprint | None = None
    idle: dict[str, Idle] = field(default_factory=dict)
    """What can be claimed, the oldest first."""
    old: dict[str, Idle] = field(default_factory=dict)
    """Idle ones of another version, or where none is to stay."""
    queue: FairQueue[Ticket] = field(default_factory=FairQueue)
    recent: RecentClaims = field(default_factory=RecentClaims)
    asking: Counter[str] = field(default_factory=Counter)
    """Claims of each owner that are not over: they wait, or are being written down."""
    creating: Counter[str] = field(default_factory=Counter)
    """Of each version."""
    last_error: AssayError | None = None
    """Of the last attempt, if that failed."""
    failures: int = 0
    retry_at: float = 0.0
    turn: int = 0
    checking: int = 0
    resolving: asyncio.Task[Blueprint | AssayError | None] | None = None

    # --- what is wanted ------------------------------------------------------------------------

    def change(self, environment: ServedEnvironment) -> None:
        """Want another version, or another size: nobody gets anything until it was found."""
        if environment.version != self.environment.version:
            self.old |= self.idle
            self.idle = {}
        self.environment = environment
        self.blueprint = None
        self.succeeded()

    def found(self, blueprint: Blueprint) -> None:
        """From now on sandboxes are made like this, and others are of another version."""
        self.blueprint = blueprint
        everything = sorted([*self.idle.values(), *self.old.values()], key=lambda x: x.created_at)
        wanted = blueprint.version
        self.idle = {each.record.id: each for each in everything if each.record.version == wanted}
        self.old = {each.record.id: each for each in everything if each.record.version != wanted}

    def failed(self, error: AssayError, *, now: float, jitter: float) -> float:
        """Return how many seconds to leave it alone."""
        self.last_error = error
        self.failures += 1
        seconds = backoff(self.failures, jitter)
        self.retry_at = now + seconds
        return seconds

    def succeeded(self) -> None:
        """No reason to wait any more."""
        self.last_error, self.failures, self.retry_at = None, 0, 0.0

    def stand(self, now: float) -> Stand:
        """As the plan sees it."""
        return Stand(
            environment=self.environment.name,
            target=self.target,
            idle=len(self.idle),
            old=len(self.old),
            creating=self._creating,
            waiting=len(self.queue),
            storm=bool(self.queue) and self.queue.owners() <= self._greedy(now),
            usable=self.blueprint is not None,
            retry_at=self.retry_at,
            failures=self.failures,
            crowded=isinstance(self.last_error, CapacityExceeded),
            turn=self.turn,
        )

    def statistics(self, used: int) -> PoolStatistics:
        """As everybody else sees it."""
        return PoolStatistics(
            name=self.environment.name,
            target=self.target,
            idle=len(self.idle),
            creating=self._creating,
            waiting=len(self.queue),
            checking=self.checking,
            used=used,
            last_error="" if self.last_error is None else self.last_error.message,
        )

    @property
    def _creating(self) -> int:
        return 0 if self.blueprint is None else self.creating[self.blueprint.version]

    @property
    def target(self) -> int:
        """Idle sandboxes that are wanted here; of what is derived each server has its own."""
        if self.environment.origin is Origin.REQUEST:
            return self.environment.pool_size
        return share(self.environment.pool_size, self.position)

    @property
    def full(self) -> bool:
        """Whether as many are idle as are wanted."""
        return self.blueprint is not None and len(self.idle) >= self.target

    # --- the stock -----------------------------------------------------------------------------

    def put(self, idle: Idle, *, first: bool = False) -> bool:
        """Take a sandbox into the stock, if it is of the version that is wanted."""
        if self.blueprint is not None and idle.record.version != self.blueprint.version:
            return False
        if first:
            self.idle = {idle.record.id: idle, **self.idle}
        else:
            self.idle[idle.record.id] = idle
        return True

    def unhurried(self) -> list[Idle]:
        """Those whose interpreter may start now: two at most, so that it never is a crowd.

        While somebody waits, or most of the stock is gone, a sandbox is given away before its
        interpreter could be ready: that would cost as much as the program, for nothing.
        """
        if self.queue or 2 * len(self.idle) < self.target:
            return []
        return [idle for idle in self.idle.values() if not idle.asked][:AT_ONCE]

    def retire(self, sandbox_ids: Iterable[str]) -> None:
        """Give these to nobody any more, as if they were of another version."""
        for sandbox_id in sandbox_ids:
            self.old[sandbox_id] = self.idle.pop(sandbox_id)

    def remove(self, sandbox_id: str) -> Idle | None:
        """Take one out."""
        return self.idle.pop(sandbox_id, None) or self.old.pop(sandbox_id, None)

    def take_idle(self, count: int) -> list[Idle]:
        """Take the oldest out."""
        return [self.idle.pop(each) for each in list(self.idle)[:count]]

    def take_old(self, count: int) -> list[Idle]:
        """Take the oldest of another version out."""
        return [self.old.pop(each) for each in list(self.old)[:count]]

    def take_all(self) -> list[Idle]:
        """Take every one out."""
        return self.take_old(len(self.old)) + self.take_idle(len(self.idle))

    def inspected(self) -> Iterator[IdleSandbox]:
        """What there is to know of each idle one, those of another version too."""
        for stock in (self.idle, self.old):
            for sandbox_id, each in stock.items():
                yield IdleSandbox(id=sandbox_id, lost=each.lost, checked_at=each.checked_at)

    # --- who gets what -------------------------------------------------------------------------

    def ask(self, ticket: Ticket) -> None:
        """Begin a claim. Raises PoolExhausted when its owner has too many waiting."""
        self.queue.add(ticket.owner, ticket)
        self.asking[ticket.owner] += 1

    def finish(self, ticket: Ticket) -> None:
        """A claim is over, one way or the other."""
        self.queue.discard(ticket.owner, ticket)
        self.asking[ticket.owner] -= 1
        if not self.asking[ticket.owner]:
            del self.asking[ticket.owner]

    def serve(self, now: float) -> list[Idle]:
        """Give those who wait what there is; return the lost ones that were found meanwhile."""
        lost: list[Idle] = []
        while self.queue and self.idle and self.blueprint is not None:
            oldest = next(iter(self.idle))
            if self.idle[oldest].lost:
                lost.append(self.idle.pop(oldest))
                continue
            ticket = self._next(now)
            if ticket is None:
                break
            self.recent.add(ticket.owner, now)
            idle = self.idle.pop(oldest)
            idle.blueprint = self.blueprint
            ticket.given.set_result(idle)
        return lost

    def _next(self, now: float) -> Ticket | None:
        if len(self.idle) > kept_back(self.target):
            return self.queue.take()
        return self.queue.take(self._greedy(now).__contains__)

    def _greedy(self, now: float) -> frozenset[str]:
        return greedy(self.recent.counts(now), self.asking)
