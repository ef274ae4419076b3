"""Keeps sandboxes warm, and gives each of them away once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from assay.agent.session import Session
from assay.domain.errors import AssayError, Draining, PoolExhausted, UnknownEnvironment
from assay.driver.port import Driver, Leaves
from assay.environments.served import Blueprint, ServedEnvironment
from assay.pool.endings import Condemn, Endings
from assay.pool.events import (
    Claimed,
    ClaimFailed,
    Event,
    PoolChanged,
    PoolStatistics,
    SandboxUnhealthy,
)
from assay.pool.making import Maker
from assay.pool.plan import ALONE, Position
from assay.pool.rows import Rows
from assay.pool.shelf import Idle, Shelf, Ticket
from assay.pool.upkeep import Resolve, Upkeep
from assay.storage.records import SandboxRecord

SECONDS_TO_REFILL: Final = 0.02
"""A claim from the stock is served to its end before its successor is begun with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Warm:
    """A sandbox in the hands of who claimed it, its agent connected, nothing ever run in it."""

    session: Session
    blueprint: Blueprint
    record: SandboxRecord
    created_at: float
    """When, on the event loop's clock."""


class Pool:
    """Warm sandboxes of every environment: see docs/pool.md.

    `resolve` finds on this machine what an environment's sandboxes are made of; `epochs` gives a
    higher number for every connection to an agent, after a restart too; `parallel` sandboxes are
    made at a time; `jitter` gives numbers from 0 to 1; `condemn` is for one server of several.
    """

    def __init__(
        self,
        driver: Driver,
        resolve: Resolve,
        storage: Rows,
        *,
        epochs: Callable[[], int],
        parallel: int | None = None,
        jitter: Callable[[], float] = random.random,
        condemn: Condemn | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        processors = len(os.sched_getaffinity(0))
        # Most of an ending is waiting for the kernel, until it has let go of process 1.
        endings = parallel or processors
        # More at a time are not made sooner, but keep others from the processors.
        parallel = parallel or max(1, processors // 2)
        self._storage = storage
        self._on_event = on_event
        self._endings = Endings(
            driver,
            storage,
            parallel=endings,
            jitter=jitter,
            on_failure=self._tell,
            condemn=condemn,
        )
        self._alone = condemn is None
        self._maker = Maker(driver, storage, self._endings, epochs=epochs, alone=self._alone)
        self._upkeep = Upkeep(
            self._maker,
            self._endings,
            resolve,
            parallel=parallel,
            jitter=jitter,
            tell=self._tell,
            on_pass=self._on_pass,
            told_to_leave=driver.leaving if isinstance(driver, Leaves) else tuple,
        )
        self._shelves = self._upkeep.shelves
        self._used: dict[str, str] = {}
        self._used_counts: Counter[str] = Counter()
        self._told: Mapping[str, PoolStatistics] = {}
        self._expecting: list[asyncio.Future[None]] = []
        self._draining = False
        self._position = ALONE

    # --- what is wanted ------------------------------------------------------------------------

    def set_environment(self, environment: ServedEnvironment) -> None:
        """Add an environment or change it, its size too.

        A claim that begins after this gets a sandbox of the new version.
        """
        shelf = self._shelves.get(environment.name)
        if shelf is None:
            self._shelves[environment.name] = Shelf(
                environment=environment, position=self._position
            )
        else:
            shelf.change(environment)
        self._upkeep.hint()

    def set_position(self, position: Position) -> None:
        """Keep the share of this one of so many servers."""
        if position != self._position:
            self._position = position
            for shelf in self._shelves.values():
                shelf.position = position
            self._upkeep.hint()

    @contextlib.contextmanager
    def growing(self) -> Iterator[None]:
        """Until its end, when this one's share has risen, no idle sandbox is too many."""
        self._upkeep.growing += 1
        try:
            yield
        finally:
            self._upkeep.growing -= 1
            self._upkeep.hint()

    def remove_environment(self, name: str) -> None:
        """Destroy its idle sandboxes; who waits for one gets UnknownEnvironment."""
        shelf = self._shelves.pop(name, None)
        if shelf is not None:
            _refuse(shelf, UnknownEnvironment(f"the environment {name!r} was removed"))
            self._upkeep.end_all(shelf.take_all())
            self._upkeep.hint()

    async def blueprint(self, name: str) -> Blueprint:
        """What an environment's sandboxes are made of now.

        Raises UnknownEnvironment, or why it could not be found on this machine.
        """
        while (shelf := self._shelf(name)).blueprint is None:
            task = self._upkeep.resolve(shelf)
            await asyncio.wait((task,))
            if task.cancelled():
                raise Draining("the server is about to stop")
            if isinstance(error := task.result(), AssayError):
                raise error
        return shelf.blueprint

    def statistics(self) -> Mapping[str, PoolStatistics]:
        """Every environment's numbers now."""
        return {
            name: shelf.statistics(self._used_counts[name]) for name, shelf in self._shelves.items()
        }

    @property
    def used(self) -> int:
        """How many are claimed, by whomever."""
        return len(self._used)

    # --- claims --------------------------------------------------------------------------------

    async def claim(
        self, environment: str, *, owner: str = "", deadline_seconds: float = 10.0
    ) -> Warm:
        """Return a sandbox that nobody has had or will have; give it to `discard` in the end.

        It is written down that it was taken before this returns. Raises PoolExhausted when there
        is none at the deadline, UnknownEnvironment, Draining, StorageError.
        """
        started = _now()
        try:
            warm, from_stock = await self._claim(environment, owner, deadline_seconds)
        except AssayError as error:
            self._tell(
                ClaimFailed(
                    environment=environment,
                    owner=owner,
                    waited_seconds=_now() - started,
                    error=error,
                )
            )
            raise
        self._tell(
            Claimed(
                environment=environment,
                owner=owner,
                waited_seconds=_now() - started,
                from_stock=from_stock,
            )
        )
        return warm

    async def discard(self, sandbox: Warm | Session | str) -> None:
        """Destroy a sandbox (or one of this id, if nobody is connected to it) after its lease.

        Never raises; what fails is tried again.
        """
        session = sandbox.session if isinstance(sandbox, Warm) else sandbox
        if isinstance(session, str):
            sandbox_id, agent = session, None
        else:
            sandbox_id, agent = session.sandbox.id, session.agent
        self._end_use(sandbox_id)
        await self._endings.end(sandbox_id, agent)
        self._upkeep.hint_freed()

    async def _claim(self, environment: str, owner: str, seconds: float) -> tuple[Warm, bool]:
        shelf = self._shelf(environment)
        if self._draining:
            raise Draining("the server is about to stop, and gives no sandboxes away any more")
        deadline = _now() + seconds
        while True:
            warm, from_stock = await self._given(shelf, owner, deadline)
            if warm.session.agent.lost is None:
                return warm, from_stock
            await self.discard(warm)  # it died while that was being written down

    async def _given(self, shelf: Shelf, owner: str, deadline: float) -> tuple[Warm, bool]:
        ticket = Ticket(owner=owner, given=asyncio.get_running_loop().create_future())
        shelf.ask(ticket)
        try:
            self._upkeep.serve(shelf)
            from_stock = ticket.given.done()
            self._upkeep.hint(SECONDS_TO_REFILL if from_stock else 0.0)
            if not from_stock:
                await self._wait(shelf, ticket, deadline)
            return await self._taken(ticket.given.result()), from_stock
        finally:
            shelf.finish(ticket)

    async def _wait(self, shelf: Shelf, ticket: Ticket, deadline: float) -> None:
        started = _now()
        self._storage.hurry()  # for a sandbox that is made, and written down no sooner
        try:
            await asyncio.wait((ticket.given,), timeout=max(0.0, deadline - started))
        except asyncio.CancelledError:
            if ticket.given.done() and ticket.given.exception() is None:
                # Nobody has had it, so it is as good as before.
                self._upkeep.put(shelf, ticket.given.result(), first=True)
            raise
        if not ticket.given.done():
            raise PoolExhausted(
                f"no sandbox of {shelf.environment.name!r} became free in"
                f" {_now() - started:.3g} seconds",
                detail=_why(shelf.last_error),
            )

    async def _taken(self, idle: Idle) -> Warm:
        idle.session.agent.on_lost = None
        record = replace(idle.record, taken=True)
        self.lend(record)
        taking = asyncio.ensure_future(self._storage.take_sandbox(record.id, later=self._alone))
        if self._alone:
            # Should a kill come first, the next server will hear of its agent whether anything has
            # run there. Nobody else could have it.
            taking.add_done_callback(lambda done: done.cancelled() or done.exception())
        else:
            await self._written(taking, idle)
        return Warm(
            session=idle.session,
            blueprint=idle.blueprint,
            record=record,
            created_at=idle.created_at,
        )

    async def _written(self, taking: Awaitable[object], idle: Idle) -> None:
        try:
            await taking
        except BaseException:
            # It may be written down as taken, so nobody else may have it.
            self._end_use(idle.record.id)
            self._upkeep.end_all([idle])
            raise

    def _end_use(self, sandbox_id: str) -> None:
        environment = self._used.pop(sandbox_id, None)
        if environment is not None:
            self._used_counts[environment] -= 1

    def _shelf(self, name: str) -> Shelf:
        shelf = self._shelves.get(name)
        if shelf is None:
            raise UnknownEnvironment(f"no environment is called {name!r}")
        return shelf

    # --- what an earlier server has left -------------------------------------------------------

    async def adopt(self, record: SandboxRecord) -> bool:
        """Take an idle sandbox of an earlier server into the stock; destroy it if that can't be.

        It must be of the version that is wanted, and nothing may ever have run in it. The end of
        one whose agent does not answer is not waited for: its machine may be silent for long.
        """
        try:
            idle = await self._found(record)
        except AssayError as error:
            self._endings.begin(record.id)
            self._tell(
                SandboxUnhealthy(
                    environment=record.environment, sandbox_id=record.id, reason=error.message
                )
            )
            return False
        shelf = self._shelves.get(record.environment)
        if idle is None or shelf is None:
            await self._endings.end(record.id, idle.session.agent if idle else None)
            return False
        return self._upkeep.put(shelf, idle)

    async def _found(self, record: SandboxRecord) -> Idle | None:
        if record.taken or record.environment not in self._shelves:
            return None
        blueprint = await self.blueprint(record.environment)
        if blueprint.version != record.version:
            return None
        return await self._maker.find(record, blueprint)

    def lend(self, record: SandboxRecord) -> None:
        """Count a sandbox as used, such as one that was claimed from an earlier server."""
        if record.id not in self._used:
            self._used[record.id] = record.environment
            self._used_counts[record.environment] += 1

    # --- its life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to compare what is wanted with what there is."""
        self._upkeep.start()

    async def ready(self) -> None:
        """Wait until every environment has as many idle sandboxes as it wants."""
        while not all(shelf.full for shelf in self._shelves.values()):
            expected = asyncio.get_running_loop().create_future()
            self._expecting.append(expected)
            await expected

    async def drain(self) -> None:
        """Give nothing away any more and make nothing; what is idle stays."""
        self._draining = True
        for shelf in self._shelves.values():
            _refuse(shelf, Draining("the server is about to stop"))
        await self._upkeep.drain()

    async def aclose(self, *, keep_idle: bool = False) -> None:
        """Stop. With `keep_idle` the idle sandboxes stay for the next server to adopt."""
        await self.drain()
        await self._upkeep.aclose()
        for shelf in self._shelves.values():
            if not keep_idle:
                self._upkeep.end_all(shelf.take_all())
            for idle in shelf.take_all():
                idle.session.agent.on_lost = None
                await idle.session.agent.aclose()
        await self._endings.aclose()

    # --- what others hear of it ----------------------------------------------------------------

    def _on_pass(self) -> None:
        expecting, self._expecting = self._expecting, []
        for expected in expecting:
            if not expected.done():
                expected.set_result(None)
        if self._on_event is None:
            return
        before, self._told = self._told, self.statistics()
        for name, statistics in self._told.items():
            if before.get(name) != statistics:
                self._tell(PoolChanged(statistics=statistics))

    def _tell(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as error:  # an observer's fault must not cost a sandbox
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"the observer of {event} failed", "exception": error}
            )


def _refuse(shelf: Shelf, error: AssayError) -> None:
    for ticket in shelf.queue.take_all():
        ticket.given.set_exception(error)


def _why(error: AssayError | None) -> str:
    if error is None:
        return ""
    detail = f" ({error.detail})" if error.detail else ""
    return f"the last attempt to make one failed: {error.message}{detail}"


def _now() -> float:
    return asyncio.get_running_loop().time()
