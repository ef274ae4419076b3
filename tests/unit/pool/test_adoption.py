"""The end of a server, and what the next one takes over."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pool_bench import Bench, RowsInMemory, bench

from assay.agent.session import connect
from assay.domain.command import Command
from assay.domain.errors import (
    Draining,
)
from assay.drivers.fake import FakeMachine, run_in_virtual_time


def test_a_draining_pool_gives_nothing_away_and_makes_nothing() -> None:
    async def main() -> None:
        async with bench(create_seconds=1.0) as it:
            it.set("a", 1)
            await it.pool.ready()
            await it.pool.claim("a")
            waiting = asyncio.ensure_future(it.pool.claim("a"))
            await asyncio.sleep(0.5)
            await it.pool.drain()
            with pytest.raises(Draining):
                await waiting
            with pytest.raises(Draining):
                await it.pool.claim("a")
            await asyncio.sleep(3.0)
            assert it.numbers("a") == (0, 0, 0, 1)
            assert len(await it.sandboxes()) == 1

    run_in_virtual_time(main())


def test_idle_sandboxes_are_adopted_by_the_next_server() -> None:
    async def main() -> None:
        machine, rows = FakeMachine(), RowsInMemory()
        async with bench(machine=machine, rows=rows, keep_idle=True) as it:
            it.set("a", 3)
            await it.pool.ready()
            await it.pool.claim("a")
            await it.pool.ready()
            left = dict(rows.rows)
        async with bench(machine=machine, rows=rows, epoch=1 << 24, start=False) as it:
            it.set("a", 3)
            for record in left.values():
                if record.taken:
                    it.pool.lend(record)
                else:
                    assert await it.pool.adopt(record)
            made = machine.made
            it.pool.start()
            await it.pool.ready()
            assert it.numbers("a") == (3, 0, 0, 1)
            assert machine.made == made, "made new ones beside those that were there"
            warm = await it.pool.claim("a")
            assert warm.record.id in left

    run_in_virtual_time(main())


def _adopting(spoil: Callable[[Bench, str], Awaitable[None]], *, memory_mib: int = 64) -> None:
    async def main() -> None:
        machine, rows = FakeMachine(), RowsInMemory()
        async with bench(machine=machine, rows=rows, keep_idle=True) as it:
            it.set("a", 1)
            await it.pool.ready()
            (record,) = rows.rows.values()
        async with bench(machine=machine, rows=rows, epoch=1 << 24, start=False) as it:
            it.set("a", 1, memory_mib=memory_mib)
            await spoil(it, record.id)
            assert not await it.pool.adopt(rows.rows[record.id])
            await asyncio.sleep(1)  # the end of one that does not answer is not waited for
            assert await it.sandboxes() == set()
            assert rows.rows == {}

    run_in_virtual_time(main())


def test_a_sandbox_in_which_something_has_run_is_not_adopted() -> None:
    async def run_something(it: Bench, sandbox_id: str) -> None:
        secret = it.rows.rows[sandbox_id].secret
        agent = await connect(it.driver, sandbox_id, secret, epoch=1 << 23)
        await (await agent.start(Command(argv=("/nothing",)))).wait()
        await agent.aclose()

    _adopting(run_something)


def test_a_sandbox_of_another_version_is_not_adopted() -> None:
    async def nothing(it: Bench, sandbox_id: str) -> None:
        pass

    _adopting(nothing, memory_mib=128)


def test_a_sandbox_that_was_given_to_somebody_is_not_adopted() -> None:
    async def take(it: Bench, sandbox_id: str) -> None:
        await it.rows.take_sandbox(sandbox_id)

    _adopting(take)


def test_a_dead_sandbox_is_not_adopted() -> None:
    async def kill(it: Bench, sandbox_id: str) -> None:
        it.driver.agent(sandbox_id).die()

    _adopting(kill)
