"""What a pool survives: sandboxes that die, and claims, drivers and databases that fail."""

from __future__ import annotations

import asyncio

import pytest
from pool_bench import Bench, bench, condemned, now

from assay.domain.errors import RuntimeFailed, StorageError
from assay.drivers.fake import FakeDriver, FakeMachine, run_in_virtual_time
from assay.pool import SandboxUnhealthy


def test_a_lost_sandbox_is_replaced_at_once() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 3)
            await it.pool.ready()
            victim = (await it.driver.list())[1]
            it.driver.agent(victim).die()
            await asyncio.sleep(0.2)
            assert victim not in await it.sandboxes()
            assert it.numbers("a") == (3, 0, 0, 0)
            assert [
                each.sandbox_id for each in it.events if isinstance(each, SandboxUnhealthy)
            ] == [victim]

    run_in_virtual_time(main())


def test_nobody_gets_a_sandbox_that_was_lost_a_moment_ago() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 3)
            await it.pool.ready()
            victims = (await it.driver.list())[:2]
            for victim in victims:
                it.driver.agent(victim).die()
            await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)  # its connection breaks, and nothing else has time to happen
            warm = await it.pool.claim("a")
            assert warm.record.id not in victims

    run_in_virtual_time(main())


def test_an_agent_that_no_longer_answers_is_found_out() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 2)
            await it.pool.ready()
            victim = (await it.driver.list())[0]

            async def never() -> float:
                return await asyncio.get_running_loop().create_future()

            it.pool._shelves["a"].idle[victim].session.agent.ping = never
            await asyncio.sleep(29.0)
            assert victim in await it.sandboxes()
            await asyncio.sleep(7.0)
            assert victim not in await it.sandboxes()
            assert it.numbers("a") == (2, 0, 0, 0)

    run_in_virtual_time(main())


async def _cancelled_at(it: Bench, step: int) -> None:
    """Cancel a claim after so many turns of the event loop."""
    claim = asyncio.ensure_future(it.pool.claim("a"))
    for _ in range(step):
        await asyncio.sleep(0)
    claim.cancel()
    (result,) = await asyncio.gather(claim, return_exceptions=True)
    if not isinstance(result, BaseException):
        await it.pool.discard(result)


@pytest.mark.parametrize("size", [0, 1])
def test_a_claim_that_is_cancelled_at_any_point_leaves_nothing(size: int) -> None:
    async def main() -> None:
        async with bench(create_seconds=0.01) as it:
            it.rows.seconds = 0.0
            it.set("a", size)
            await it.pool.ready()
            for step in range(40):
                await _cancelled_at(it, step)
                await asyncio.sleep(0.5)
                assert it.numbers("a") == (size, 0, 0, 0), step
                assert len(await it.sandboxes()) == size
            taken = [each.taken for each in it.rows.rows.values()]
            assert taken == [False] * size

    run_in_virtual_time(main())


def test_a_sandbox_that_was_meant_for_who_left_goes_to_the_next() -> None:
    async def main() -> None:
        machine = FakeMachine()
        async with bench(create_seconds=1.0, parallel=1, machine=machine) as it:
            it.set("a", 0)
            first = asyncio.ensure_future(it.pool.claim("a", owner="x"))
            await asyncio.sleep(0.5)
            second = asyncio.ensure_future(it.pool.claim("a", owner="y"))
            await asyncio.sleep(0.1)
            first.cancel()
            await second
            assert now() < 1.2
            assert machine.made <= 2

    run_in_virtual_time(main())


def test_a_database_that_fails_costs_the_sandbox_and_no_more() -> None:
    async def main() -> None:
        async with bench(condemn=condemned) as it:
            it.set("a", 2)
            await it.pool.ready()
            before = await it.sandboxes()
            it.rows.error = StorageError("the disk is full")
            with pytest.raises(StorageError):
                await it.pool.claim("a")
            await asyncio.sleep(3.0)
            assert len(await it.sandboxes() - before) == 0, "not written down, and kept"
            it.rows.error = None
            await asyncio.sleep(3.0)
            assert it.numbers("a") == (2, 0, 0, 0)
            it.rows.rows = {key: row for key, row in it.rows.rows.items() if key not in before}

    run_in_virtual_time(main())


def test_who_is_alone_lets_nobody_wait_for_a_database_that_fails() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 2)
            await it.pool.ready()
            it.rows.error = StorageError("the disk is full")
            claimed = {(await it.pool.claim("a")).record.id for _ in range(2)}
            assert len(claimed) == 2
            await asyncio.sleep(3.0)
            assert await it.sandboxes() == claimed, "not written down, and kept"
            it.rows.error = None
            await asyncio.sleep(3.0)
            assert it.numbers("a") == (2, 0, 0, 2)
            assert not claimed & it.pool._shelves["a"].idle.keys()

    run_in_virtual_time(main())


def test_a_sandbox_that_cannot_be_destroyed_is_tried_again() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 1)
            await it.pool.ready()
            warm = await it.pool.claim("a")
            destroy = it.driver.destroy
            attempts = []

            async def failing(sandbox_id: str) -> None:
                attempts.append(now())
                if len(attempts) < 4:
                    raise RuntimeFailed("busy")
                await destroy(sandbox_id)

            it.driver.destroy = failing
            await it.pool.discard(warm)
            assert it.numbers("a")[3] == 0
            await asyncio.sleep(10.0)
            assert warm.record.id not in await it.sandboxes()
            assert len(attempts) == 4

    run_in_virtual_time(main())


def test_a_sandbox_that_dies_while_it_is_written_down_is_given_to_nobody() -> None:
    async def main() -> None:
        async with bench(condemn=condemned) as it:
            it.rows.seconds = 0.05
            it.set("a", 2)
            await it.pool.ready()
            first = (await it.driver.list())[0]
            claim = asyncio.ensure_future(it.pool.claim("a"))
            await asyncio.sleep(0.02)
            it.driver.agent(first).die()
            warm = await claim
            assert warm.record.id != first
            assert warm.session.agent.lost is None
            assert it.numbers("a")[3] == 1

    run_in_virtual_time(main())


def test_an_observer_that_fails_costs_nothing() -> None:
    async def main() -> None:
        problems = []
        asyncio.get_running_loop().set_exception_handler(lambda _, each: problems.append(each))
        async with bench() as it:

            def failing(event: object) -> None:
                raise ValueError("observer")

            it.pool._on_event = failing
            it.set("a", 1)
            await it.pool.ready()
            await it.pool.claim("a")
        assert problems

    run_in_virtual_time(main())


def test_an_unexpected_error_of_a_driver_is_a_failure_like_others() -> None:
    class Odd(FakeDriver):
        pass

    async def main() -> None:
        async with bench() as it:
            create = it.driver.create

            async def odd(spec: object) -> object:
                raise KeyError("surprise")

            it.driver.create = odd
            it.set("a", 1)
            await asyncio.sleep(0.3)
            assert "could not make a sandbox" in it.pool.statistics()["a"].last_error
            it.driver.create = create
            await it.pool.ready()

    run_in_virtual_time(main())
