"""A pool over fake sandboxes, its rows in memory, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from assay.domain.errors import AssayError, StorageError
from assay.domain.limits import SandboxLimits
from assay.driver.port import RootFilesystem
from assay.drivers.fake import FakeDriver, FakeMachine
from assay.environments import Blueprint, ServedEnvironment
from assay.pool import Event, Pool
from assay.pool.endings import Condemn
from assay.storage.records import SandboxRecord


@dataclass
class RowsInMemory:
    """What a database does for a pool: slowly, and not always."""

    rows: dict[str, SandboxRecord] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    """Every sandbox that was ever given away."""
    seconds: float = 0.001
    error: AssayError | None = None
    later_seconds: float = 0.0
    """How long what nobody waits for is put off."""
    added_later: list[str] = field(default_factory=list)
    _hurried: asyncio.Event = field(default_factory=asyncio.Event)

    def clock(self) -> float:
        return asyncio.get_running_loop().time()

    async def _commit(self) -> None:
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error

    async def add_sandbox(self, record: SandboxRecord, *, later: bool = False) -> None:
        if later:
            self.added_later.append(record.id)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurried.wait(), self.later_seconds)
        await self._commit()
        assert record.id not in self.rows
        self.rows[record.id] = record

    def hurry(self) -> None:
        self._hurried.set()
        self._hurried = asyncio.Event()

    async def take_sandbox(self, sandbox_id: str, *, later: bool = False) -> None:
        if later:
            self.taken.append(sandbox_id)  # somebody has it by then
        await self._commit()
        record = self.rows[sandbox_id]
        if record.taken:
            raise StorageError(f"{sandbox_id} was taken already")
        self.rows[sandbox_id] = replace(record, taken=True)
        if not later:
            self.taken.append(sandbox_id)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._commit()
        self.rows.pop(sandbox_id, None)


@dataclass
class Bench:
    """A pool with all that it stands on."""

    driver: FakeDriver
    rows: RowsInMemory
    pool: Pool
    events: list[Event] = field(default_factory=list)
    digest: str = "sha256:1"
    resolve_error: AssayError | None = None
    resolve_seconds: float = 0.01

    def set(self, name: str, size: int, *, memory_mib: int = 64) -> None:
        self.pool.set_environment(environment(name, size, memory_mib=memory_mib))

    def numbers(self, name: str) -> tuple[int, int, int, int]:
        """Idle, creating, waiting, used."""
        stand = self.pool.statistics()[name]
        return stand.idle, stand.creating, stand.waiting, stand.used

    async def sandboxes(self) -> set[str]:
        return set(await self.driver.list())

    async def resolve(self, environment: ServedEnvironment) -> Blueprint:
        await asyncio.sleep(self.resolve_seconds)
        if self.resolve_error is not None:
            raise self.resolve_error
        return Blueprint(
            environment=environment, root=RootFilesystem(digest=self.digest, path=Path("/"))
        )


def environment(name: str, size: int, *, memory_mib: int = 64) -> ServedEnvironment:
    return ServedEnvironment(
        name=name,
        image="host",
        pool_size=size,
        sandbox=SandboxLimits(memory_bytes=memory_mib << 20),
    )


@asynccontextmanager
async def bench(
    *,
    create_seconds: float = 0.1,
    parallel: int = 2,
    machine: FakeMachine | None = None,
    rows: RowsInMemory | None = None,
    epoch: int = 0,
    keep_idle: bool = False,
    start: bool = True,
    condemn: Condemn | None = None,
    driver: FakeDriver | None = None,
) -> AsyncIterator[Bench]:
    """Nothing is left of it in the end but what somebody has claimed."""
    driver = driver or FakeDriver(machine=machine)
    driver.create_faults.seconds = create_seconds
    rows = rows or RowsInMemory()
    events: list[Event] = []
    epochs = count(epoch + 1)
    pool = Pool(
        driver,
        lambda wanted: made.resolve(wanted),
        rows,
        epochs=lambda: next(epochs),
        parallel=parallel,
        jitter=lambda: 0.0,
        condemn=condemn,
        on_event=events.append,
    )
    made = Bench(driver=driver, rows=rows, pool=pool, events=events)
    if start:
        pool.start()
    try:
        yield made
    finally:
        driver.create_faults.hangs = False
        await pool.aclose(keep_idle=keep_idle)
        await asyncio.sleep(rows.seconds)  # what nobody waits for
    left = await made.sandboxes()
    if not keep_idle:
        assert left <= set(rows.taken), "a sandbox is left that nobody has"
    assert set(rows.rows) <= left, "a row is left without a sandbox"
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for sandbox_id in left if not keep_idle else ():
        await driver.destroy(sandbox_id)
    assert not {task for task in others if "assay/pool" in repr(task)}, "a task is left"


async def condemned(sandbox_id: str) -> object:
    """What one server of several does before it destroys a sandbox."""
    return sandbox_id


def now() -> float:
    return asyncio.get_running_loop().time()
