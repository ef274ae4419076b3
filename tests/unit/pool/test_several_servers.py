"""The pool of one server among several: its share, and what it may destroy."""

from __future__ import annotations

import asyncio

from pool_bench import RowsInMemory, bench

from assay.domain.errors import StorageError
from assay.drivers.fake import run_in_virtual_time
from assay.pool.plan import Position


def test_one_of_several_servers_keeps_its_part_as_servers_come_and_go() -> None:
    async def main() -> None:
        async with bench() as it:
            it.pool.set_position(Position(rank=1, servers=2))
            it.set("a", 5)
            await it.pool.ready()
            assert it.numbers("a")[0] == it.pool.statistics()["a"].target == 2
            it.pool.set_position(Position(rank=0, servers=1))
            await it.pool.ready()
            assert it.numbers("a")[0] == 5
            it.pool.set_position(Position(rank=0, servers=3))
            await asyncio.sleep(5)
            assert it.numbers("a")[0] == 2
            assert len(await it.sandboxes()) == 2

    run_in_virtual_time(main())


def test_what_another_server_has_by_now_is_not_destroyed() -> None:
    async def main() -> None:
        rows, given_up = RowsInMemory(), False
        condemned: list[str] = []

        async def condemn(sandbox_id: str) -> None:
            if given_up:
                raise StorageError("another server has taken over")
            condemned.append(sandbox_id)

        async with bench(rows=rows, condemn=condemn) as it:
            it.set("a", 2)
            await it.pool.ready()
            first = await it.pool.claim("a")
            await it.pool.discard(first)
            assert condemned == [first.record.id]
            await it.pool.ready()
            kept = await it.sandboxes()
            given_up = True
            it.pool.remove_environment("a")
            await asyncio.sleep(60)
            assert await it.sandboxes() == kept
            given_up = False
        assert len(condemned) == 3

    run_in_virtual_time(main())


def test_what_was_never_written_down_is_nobody_elses() -> None:
    async def main() -> None:
        async def condemn(sandbox_id: str) -> None:
            raise StorageError("another server has taken over")

        async with bench(condemn=condemn) as it:
            it.rows.error = StorageError("another server has taken over")
            it.set("a", 1)
            await asyncio.sleep(20)
            assert await it.sandboxes() == set()

    run_in_virtual_time(main())
