"""What a server does first with what an earlier one, or another process, has left.

The driver knows which sandboxes there are, the database which of them are whose. From the two:

    leased, and there               the runner goes on, with its executions
    noted as idle, and there        back into the pool
    noted, and not there            forgotten; a lease of it is over
    there, noted, but not leased    destroyed: it was being handed over
    there, noted by nobody          destroyed a little later: it may be in the making
    there, of another process       left alone (`assay run` beside the server)
    noted, but another server's     forgotten: that one took over, and notes it

Where several servers share the database, each does so with its own; with what a silent one had,
whoever takes over from it does the same. What other servers have is of another process. What the
driver can't ask for now (its machine does not answer) is there, until it can be.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay.bootstrap.drivers import sweep_abandoned
from assay.bootstrap.ownership import Ownership
from assay.bootstrap.sharing import Sharing
from assay.config import Settings
from assay.domain.errors import AssayError
from assay.domain.lease import Lease
from assay.driver.guard import Guard
from assay.pool import Pool
from assay.runners.runners import Runners
from assay.storage.database import Storage
from assay.storage.records import ExecutionRecord, SandboxRecord

_SECONDS_TO_NOTE: Final = 30.0
"""How long a sandbox may be a stranger's after the time that making it may take: whoever makes it
notes it then.
"""
_ALONE_SECONDS: Final = 5.0
"""The same where nobody makes any but those who just try whether it works."""
_AT_ONE_TIME: Final = 16
_SECONDS_BETWEEN_TRIES: Final = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Leased:
    """A runner that goes on."""

    lease: Lease
    record: SandboxRecord
    executions: Sequence[ExecutionRecord]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to do with each sandbox and each row."""

    leased: tuple[Leased, ...]
    idle: tuple[SandboxRecord, ...]
    over: tuple[str, ...]
    """Runners whose sandbox is gone."""
    gone: tuple[str, ...]
    """Rows of sandboxes that are not there, or not wanted."""
    unwanted: tuple[str, ...]
    """Sandboxes to destroy."""
    strangers: tuple[str, ...]
    """Sandboxes to destroy if nobody has noted them a little later."""


def plan(
    *,
    there: Collection[str],
    ours: Collection[str],
    others: Collection[str],
    records: Iterable[SandboxRecord],
    leases: Sequence[Lease],
    executions: Iterable[ExecutionRecord],
) -> Plan:
    """Decide. `there` is what the driver lists, `ours` what an earlier server has noted, `others`
    what living processes and other servers have.
    """
    known = {record.id: record for record in records}
    present = known.keys() & set(there)
    going_on = [lease for lease in leases if lease.sandbox_id in present]
    leased = {lease.sandbox_id for lease in going_on}
    idle = {id_ for id_ in present - leased if not known[id_].taken}
    left = set(there) - leased - idle - set(others)
    noted = left & (set(ours) | known.keys())
    by_runner = defaultdict(list)
    for execution in executions:
        by_runner[execution.runner_id].append(execution)
    return Plan(
        leased=tuple(
            Leased(
                lease=lease,
                record=known[lease.sandbox_id],
                executions=by_runner[lease.runner_id],
            )
            for lease in going_on
        ),
        idle=tuple(known[id_] for id_ in sorted(idle)),
        over=tuple(lease.runner_id for lease in leases if lease.sandbox_id not in leased),
        gone=tuple(sorted(known.keys() - leased - idle)),
        unwanted=tuple(sorted(noted)),
        strangers=tuple(sorted(left - noted)),
    )


class Recovery:
    """Carries it out, in three parts: what clients ask for first comes first."""

    def __init__(
        self,
        settings: Settings,
        *,
        guard: Guard,
        ownership: Ownership,
        storage: Storage,
        pool: Pool,
        runners: Runners,
        sharing: Sharing,
        shared: bool = False,
    ) -> None:
        """`shared`: servers on other machines make sandboxes of this driver, too."""
        self._settings = settings
        self._guard = guard
        self._ownership = ownership
        self._storage = storage
        self._pool = pool
        self._runners = runners
        self._sharing = sharing
        self._shared = shared
        self.cleaned = asyncio.Event()
        """`clean_up` has destroyed all that it can."""
        self._plan: Plan | None = None
        self._stranger_seconds = guard.create_seconds + _SECONDS_TO_NOTE

    async def adopt_runners(self) -> None:
        """Learn what there is, and let runners go on: they can be asked for from now on."""
        there = await self._there(self._ownership.former)
        if self._ownership.alone() and not self._shared:
            self._stranger_seconds = _ALONE_SECONDS
        self._plan = await self._find(there, self._ownership.former)
        self._ownership.forget_vanished(there)
        records = await self._storage.sandboxes()
        self._ownership.forget(record.id for record in records if not self._is_ours(record))
        await self._adopt_runners(self._plan)

    async def adopt_idle(self) -> None:
        """Put idle sandboxes back into the pool."""
        assert self._plan is not None
        await self._adopt_idle(self._plan)

    async def take_over(self, noted: Collection[str], epoch: int) -> Plan:
        """The same for what another server had, and this one has since `epoch`; `noted` by it.

        What was found: its runners can be asked for from now on. May be repeated.
        """
        found = await self._find(await self._there(noted), noted, epoch)
        self._ownership.adopt(each.record.id for each in found.leased)
        self._ownership.adopt(record.id for record in found.idle)
        await self._adopt_runners(found)
        self._runners.start()
        await self._adopt_idle(found)
        await _all(self._guard.destroy, found.unwanted)
        return found

    async def _find(
        self, there: Collection[str], noted: Collection[str], epoch: int | None = None
    ) -> Plan:
        """Look at what is this server's, or only at what it has since `epoch`."""
        records = await self._storage.sandboxes()
        not_meant = {
            record.id
            for record in records
            if not self._is_ours(record) or epoch not in (None, record.epoch)
        }
        leases = await self._storage.leases()
        return plan(
            there=there,
            ours=noted,
            others=(self._ownership.others() - frozenset(noted)) | not_meant,
            records=(
                record
                for record in records
                if record.driver == self._guard.name and record.id not in not_meant
            ),
            leases=[lease for lease in leases if lease.sandbox_id not in not_meant],
            executions=await self._storage.executions(),
        )

    def _is_ours(self, record: SandboxRecord) -> bool:
        me = self._storage.server
        return me is None or record.server == me.id

    async def _adopt_runners(self, found: Plan) -> None:
        for each in found.leased:
            self._guard.adopt(each.record.id)
            self._pool.lend(each.record)
            await self._runners.adopt(each.lease, each.record, each.executions)
        over = [self._storage.end_lease(runner_id) for runner_id in found.over]
        gone = [self._storage.remove_sandbox(sandbox_id) for sandbox_id in found.gone]
        await asyncio.gather(*over, *gone)

    async def _there(self, noted: Collection[str]) -> list[str]:
        """What the driver lists, and what was noted and may be there all the same, as the driver
        can't ask where it would be. Only what surely is not there is gone.
        """
        name, former = self._guard.name, self._ownership.former
        there = [*await self._guard.list()]
        known = {each for each in noted if former.get(each, name) == name}
        known |= {
            record.id
            for record in await self._storage.sandboxes()
            if record.driver == name and self._is_ours(record)
        }

        async def ask(sandbox_id: str) -> None:
            try:
                if await self._guard.examine(sandbox_id) is None:
                    return
            except AssayError:
                pass
            there.append(sandbox_id)

        await _all(ask, sorted(known.difference(there)))
        return there

    async def _adopt_idle(self, found: Plan) -> None:
        for record in found.idle:
            self._guard.adopt(record.id)
        await _all(self._pool.adopt, found.idle)

    async def clean_up(self) -> None:
        """Destroy what nobody wants. May take a minute, and as long as a machine does not answer
        that has some of it; to be cancelled at any time.
        """
        assert self._plan is not None
        try:
            silent = await _all(self._guard.destroy, self._plan.unwanted)
            await self._clean_up_other_drivers()
            await sweep_abandoned(self._settings, self._guard, shared=self._shared)
            await self.destroy_strangers(self._plan.strangers)
        finally:
            self.cleaned.set()
        while silent:  # nobody else knows of them: their rows are gone
            await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
            silent = await _all(self._guard.destroy, silent)

    async def destroy_strangers(self, strangers: Collection[str]) -> None:
        """Destroy those that nobody has noted a little later; they may have been in the making."""
        if not strangers:
            return
        await asyncio.sleep(self._stranger_seconds)
        there, others = await self._guard.list(), self._ownership.others()
        known = {record.id for record in await self._storage.sandboxes()}
        left = set(strangers) & set(there) - others - known
        await _all(self._guard.destroy, sorted(left))

    async def _clean_up_other_drivers(self) -> None:
        """What an earlier server has left that was told to use another driver."""
        own = self._guard.name
        by_driver: dict[str, set[str]] = defaultdict(set)
        for sandbox_id, name in self._ownership.former.items():
            by_driver[name].add(sandbox_id)
        for record in await self._storage.sandboxes():
            if self._is_ours(record):
                by_driver[record.driver].add(record.id)
        for name, sandbox_ids in by_driver.items():
            if name != own:
                with contextlib.suppress(AssayError):
                    await self._destroy_with(name, sandbox_ids)

    async def _destroy_with(self, name: str, sandbox_ids: Iterable[str]) -> None:
        driver = self._sharing.make(name)
        try:
            await _all(driver.destroy, sorted(sandbox_ids))
            await asyncio.gather(*(self._storage.remove_sandbox(each) for each in sandbox_ids))
        finally:
            await driver.aclose()


async def _all(do: Callable[[Any], Awaitable[object]], values: Iterable[Any]) -> list[Any]:
    """Do it to all, a few at one time. What fails in one of Assay's own ways stops no other, and is
    returned.
    """
    room = asyncio.Semaphore(_AT_ONE_TIME)
    failed = []

    async def one(value: Any) -> None:
        async with room:
            try:
                await do(value)
            except AssayError:
                failed.append(value)

    await asyncio.gather(*(one(value) for value in values))
    return failed
