"""A pool over fake sandboxes, in virtual time: what it keeps, what it gives, what it survives."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from pool_bench import Bench, RowsInMemory, bench, environment

from assay.agent.session import connect
from assay.domain.command import Command
from assay.domain.errors import (
    CapacityExceeded,
    Draining,
    EnvironmentUnusable,
    PoolExhausted,
    RuntimeFailed,
    StorageError,
    UnknownEnvironment,
)
from assay.driver.guard import Guard
from assay.drivers.fake import FakeDriver, FakeMachine, run_in_virtual_time
from assay.pool import (
    Claimed,
    ClaimFailed,
    PoolChanged,
    SandboxAdded,
    SandboxFailed,
    SandboxUnhealthy,
)
from assay.pool.shelf import Idle


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """(Each test has an event loop of its own, in virtual time, and `bench` looks for leaks.)"""


def now() -> float:
    return asyncio.get_running_loop().time()


def test_it_is_filled_to_its_target_and_refilled_after_a_claim() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 3)
            await it.pool.ready()
            assert it.numbers("a") == (3, 0, 0, 0)
            warm = await it.pool.claim("a")
            assert it.numbers("a")[3] == 1
            await it.pool.ready()
            assert it.numbers("a") == (3, 0, 0, 1)
            assert len(await it.sandboxes()) == 4
            await it.pool.discard(warm)
            assert it.numbers("a") == (3, 0, 0, 0)
            assert len(await it.sandboxes()) == 3
            assert set(it.rows.rows) == await it.sandboxes()

    run_in_virtual_time(main())


def test_a_claim_from_the_stock_costs_one_commit_and_no_more() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 2)
            await it.pool.ready()
            started = now()
            warm = await it.pool.claim("a")
            assert now() - started == pytest.approx(it.rows.seconds)
            assert warm.record.taken
            assert it.rows.rows[warm.record.id].taken, "not written down"
            assert warm.session.agent.highest == 0

    run_in_virtual_time(main())


def test_a_claim_of_a_missing_sandbox_costs_what_making_one_does() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.1) as it:
            it.set("a", 0)
            await it.pool.blueprint("a")
            started = now()
            await it.pool.claim("a")
            assert now() - started <= 0.1 + 0.01
            assert it.numbers("a") == (0, 0, 0, 1)

    run_in_virtual_time(main())


def test_the_next_one_is_begun_with_while_the_last_one_is_written_down() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.1, parallel=1, rows=RowsInMemory(seconds=0.09)) as it:
            it.set("a", 5)
            await it.pool.blueprint("a")
            started = now()
            await it.pool.ready()
            assert now() - started == pytest.approx(5 * 0.1 + 0.09, abs=0.02)
            made = [each.seconds for each in it.events if isinstance(each, SandboxAdded)]
            assert made == pytest.approx([0.19] * 5, abs=0.02)

    run_in_virtual_time(main())


def test_no_sandbox_is_given_away_twice() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.02) as it:
            it.set("a", 5)
            claims = [it.pool.claim("a", owner=str(n % 3)) for n in range(100)]
            got = [warm.record.id for warm in await asyncio.gather(*claims)]
            assert len(set(got)) == 100
            await it.pool.ready()
            assert not set(got) & set(it.rows.rows) - set(it.rows.taken)
            assert it.numbers("a") == (5, 0, 0, 100)

    run_in_virtual_time(main())


def test_who_gets_none_in_time_is_told_why() -> None:
    async def main() -> None:
        async with bench() as it:
            it.driver.create_faults.error = RuntimeFailed("the runtime is broken", detail="E42")
            it.set("a", 1)
            started = now()
            with pytest.raises(PoolExhausted) as caught:
                await it.pool.claim("a", deadline_seconds=3.0)
            assert now() - started == pytest.approx(3.0)
            assert "the runtime is broken" in caught.value.detail
            assert "E42" in caught.value.detail
            assert it.numbers("a")[2] == 0
            assert it.pool.statistics()["a"].last_error == "the runtime is broken"
            failed = [each for each in it.events if isinstance(each, ClaimFailed)]
            assert [each.error.code for each in failed] == ["pool_exhausted"]

    run_in_virtual_time(main())


def test_failures_are_repeated_less_and_less_and_the_first_success_ends_that() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.0) as it:
            it.driver.create_faults.error = RuntimeFailed("no")
            it.set("a", 4)
            await asyncio.sleep(120.0)
            failures = [each for each in it.events if isinstance(each, SandboxFailed)]
            delays = [each.retry_seconds for each in failures]
            assert delays[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
            assert len(failures) < 12
            it.driver.create_faults.error = None
            await asyncio.sleep(32.0)
            assert it.numbers("a") == (4, 0, 0, 0)
            assert it.pool.statistics()["a"].last_error == ""

    run_in_virtual_time(main())


def test_one_environment_that_fails_does_not_keep_another_from_being_filled() -> None:
    async def main() -> None:
        async with bench(parallel=1) as it:
            it.resolve_error = EnvironmentUnusable("no python here")
            it.set("broken", 5)
            await asyncio.sleep(0.1)
            it.resolve_error = None
            it.set("sound", 3)
            await asyncio.sleep(0.5)
            assert it.numbers("sound") == (3, 0, 0, 0)
            assert it.pool.statistics()["broken"].last_error == "no python here"
            with pytest.raises(UnknownEnvironment):
                await it.pool.blueprint("unknown")

    run_in_virtual_time(main())


def test_why_an_environment_cannot_be_had_reaches_who_asks_for_its_blueprint() -> None:
    async def main() -> None:
        async with bench(start=False) as it:
            it.resolve_error = EnvironmentUnusable("no python here")
            it.set("a", 1)
            with pytest.raises(EnvironmentUnusable):
                await it.pool.blueprint("a")

    run_in_virtual_time(main())


def test_after_a_change_nobody_gets_a_sandbox_of_the_old_version() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 4)
            await it.pool.ready()
            before = await it.sandboxes()
            it.set("a", 4, memory_mib=128)
            claims = [asyncio.ensure_future(it.pool.claim("a")) for _ in range(6)]
            most = 0
            while not all(claim.done() for claim in claims):
                idle = await it.sandboxes() - set(it.rows.taken)
                most = max(most, len(idle))
                await asyncio.sleep(0.01)
            for claim in claims:
                warm = claim.result()
                assert warm.record.id not in before
                assert warm.blueprint.environment.sandbox.memory_bytes == 128 << 20
            await it.pool.ready()
            await asyncio.sleep(0.1)
            assert not before & await it.sandboxes()
            assert most <= 4 + 2 + 1, "more than the target, and what is being made"

    run_in_virtual_time(main())


def test_old_sandboxes_go_one_by_one_as_new_ones_come() -> None:
    async def main() -> None:
        async with bench(create_seconds=1.0, parallel=1) as it:
            it.set("a", 3)
            await it.pool.ready()
            before = await it.sandboxes()
            it.digest = "sha256:2"  # the same tag, another image
            it.set("a", 3)
            seen = set()
            while before & await it.sandboxes():
                new, old = it.numbers("a")[0], len(before & await it.sandboxes())
                seen.add((new, old))
                await asyncio.sleep(0.1)
            assert {(0, 3), (1, 2), (2, 1)} <= seen

    run_in_virtual_time(main())


class Moving(FakeDriver):
    """Some of its sandboxes are where they should not stay."""

    going: frozenset[str] = frozenset()

    def leaving(self) -> frozenset[str]:
        return self.going


def test_idle_sandboxes_that_are_not_to_stay_are_replaced_one_by_one_and_given_to_nobody() -> None:
    async def main() -> None:
        driver = Moving()
        async with bench(create_seconds=1.0, parallel=1, driver=driver) as it:
            it.set("a", 3)
            await it.pool.ready()
            used = await it.pool.claim("a")
            await it.pool.ready()
            idle = await it.sandboxes() - {used.session.sandbox.id}
            driver.going = frozenset(await it.sandboxes())
            await asyncio.sleep(1.1)
            assert it.numbers("a")[0] == 0
            seen = set()
            while idle & await it.sandboxes():
                seen.add((it.numbers("a")[0], len(idle & await it.sandboxes())))
                await asyncio.sleep(0.1)
            assert {(0, 3), (1, 2), (2, 1)} <= seen
            claimed = await it.pool.claim("a")
            assert claimed.session.sandbox.id not in idle
            assert used.session.sandbox.id in await it.sandboxes()
            for each in (used, claimed):
                await it.pool.discard(each)

    run_in_virtual_time(main())


def test_a_change_that_is_taken_back_costs_nothing() -> None:
    async def main() -> None:
        async with bench(create_seconds=1.0) as it:
            it.set("a", 3)
            await it.pool.ready()
            before = await it.sandboxes()
            it.set("a", 3, memory_mib=128)
            await asyncio.sleep(0.5)
            it.set("a", 3)
            await asyncio.sleep(5.0)
            assert await it.sandboxes() == before

    run_in_virtual_time(main())


def test_new_limits_of_executions_hold_for_sandboxes_that_are_there() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 2)
            await it.pool.ready()
            before = await it.sandboxes()
            it.pool.set_environment(replace(environment("a", 2), variables={"NEW": "1"}))
            warm = await it.pool.claim("a")
            assert warm.record.id in before
            assert warm.blueprint.environment.variables == {"NEW": "1"}

    run_in_virtual_time(main())


def test_resizing_is_resizing() -> None:
    async def main() -> None:
        async with bench(parallel=4) as it:
            it.set("a", 6)
            await it.pool.ready()
            warm = await it.pool.claim("a")
            before = await it.sandboxes()
            for size in (2, 0, 5, 6, 1):
                it.set("a", size)
                await asyncio.sleep(1.5)
                assert it.numbers("a") == (size, 0, 0, 1)
                assert len(await it.sandboxes()) == size + 1
            assert warm.record.id in await it.sandboxes()
            assert before

    run_in_virtual_time(main())


def test_a_removed_environment_takes_its_idle_sandboxes_and_waiting_claims_along() -> None:
    async def main() -> None:
        async with bench(create_seconds=1.0) as it:
            it.set("a", 2)
            await it.pool.ready()
            warm = await it.pool.claim("a")
            claims = [asyncio.ensure_future(it.pool.claim("a")) for _ in range(3)]
            await asyncio.sleep(0.5)
            it.pool.remove_environment("a")
            it.pool.remove_environment("a")
            results = await asyncio.gather(*claims, return_exceptions=True)
            assert [type(result) for result in results[1:]] == [UnknownEnvironment] * 2
            await asyncio.sleep(2.0)
            taken = {warm.record.id, results[0].record.id}
            assert await it.sandboxes() == taken
            with pytest.raises(UnknownEnvironment):
                await it.pool.claim("a")
            assert it.pool.statistics() == {}

    run_in_virtual_time(main())


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
        async with bench() as it:
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


def test_room_that_becomes_free_is_used_at_once() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.05) as it:
            it.pool._maker._driver = Guard(it.driver, most_sandboxes=2)
            it.pool._endings._driver = it.pool._maker._driver
            it.set("a", 0)
            held = [await it.pool.claim("a") for _ in range(2)]
            waiting = asyncio.ensure_future(it.pool.claim("a", deadline_seconds=60.0))
            await asyncio.sleep(20.0)
            assert isinstance(
                [each for each in it.events if isinstance(each, SandboxFailed)][-1].error,
                CapacityExceeded,
            )
            freed = now()
            await it.pool.discard(held[0])
            await waiting
            assert now() - freed < 0.1

    run_in_virtual_time(main())


def test_a_full_machine_gives_an_idle_sandbox_up_for_who_waits_for_another() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.05) as it:
            it.pool._maker._driver = Guard(it.driver, most_sandboxes=4)
            it.pool._endings._driver = it.pool._maker._driver
            it.set("large", 4)
            await it.pool.ready()
            it.set("other", 0)
            started = now()
            await it.pool.claim("other")
            await it.pool.claim("other")
            assert now() - started < 0.5
            assert it.numbers("large")[0] == 2
            assert len(await it.sandboxes()) == 4

    run_in_virtual_time(main())


def test_a_sandbox_that_dies_while_it_is_written_down_is_given_to_nobody() -> None:
    async def main() -> None:
        async with bench() as it:
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


def test_a_storm_of_one_token_leaves_the_last_part_to_the_others() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.1, parallel=2) as it:
            it.set("a", 8)
            await it.pool.ready()
            waits: list[float] = []

            async def storm() -> None:
                await asyncio.gather(
                    *(it.pool.claim("a", owner="storm", deadline_seconds=60.0) for _ in range(150))
                )

            async def steady() -> None:
                for _ in range(20):
                    started = now()
                    await it.pool.claim("a", owner="steady")
                    waits.append(now() - started)
                    await asyncio.sleep(0.3)

            undisturbed = asyncio.ensure_future(steady())
            await undisturbed
            quiet, waits[:] = sorted(waits), []
            storming = asyncio.ensure_future(storm())
            await asyncio.sleep(0.05)
            await steady()
            await storming
            waits.sort()
            assert waits[18] <= 2.0 * quiet[18], (quiet, waits)

    run_in_virtual_time(main())


def test_one_token_cannot_fill_the_queue() -> None:
    async def main() -> None:
        async with bench() as it:
            it.driver.create_faults.error = RuntimeFailed("no")
            it.set("a", 0)
            claims = [
                asyncio.ensure_future(it.pool.claim("a", owner="storm", deadline_seconds=5.0))
                for _ in range(250)
            ]
            await asyncio.sleep(0.1)
            refused = [claim for claim in claims if claim.done()]
            assert len(refused) == 50
            assert all(isinstance(claim.exception(), PoolExhausted) for claim in refused)
            assert it.numbers("a")[2] == 200
            await asyncio.gather(*claims, return_exceptions=True)

    run_in_virtual_time(main())


def test_events_and_statistics_say_what_happened() -> None:
    async def main() -> None:
        async with bench() as it:
            it.set("a", 1)
            await it.pool.ready()
            await it.pool.claim("a", owner="t1")
            await it.pool.claim("a", owner="t1")
            claimed = [each for each in it.events if isinstance(each, Claimed)]
            assert [each.from_stock for each in claimed] == [True, False]
            await it.pool.ready()
            await asyncio.sleep(0.0)
            added = [each for each in it.events if isinstance(each, SandboxAdded)]
            assert len(added) == 3
            assert all(each.seconds >= 0.1 for each in added)
            changes = [each.statistics for each in it.events if isinstance(each, PoolChanged)]
            assert changes[-1] == it.pool.statistics()["a"]
            assert {each.creating for each in changes} >= {0, 1}

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


def test_interpreters_wait_for_a_stock_that_nobody_empties(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def keep(idle: Idle) -> None:
        asked.append(idle.record.id)
        idle.asked = True

    monkeypatch.setattr(Idle, "keep_interpreter", keep)

    async def main() -> None:
        async with bench(create_seconds=0.1, parallel=1) as it:
            it.set("a", 4)
            claims = [asyncio.ensure_future(it.pool.claim("a")) for _ in range(6)]
            taken = await asyncio.gather(*claims)
            assert asked == []  # each of them was wanted at once
            await it.pool.ready()
            await asyncio.sleep(2)
            assert len(asked) == len(set(asked)) == 4
            assert not {warm.record.id for warm in taken} & set(asked)
            warm = await it.pool.claim("a")
            assert warm.record.id == asked[0]

    run_in_virtual_time(main())


def test_a_stock_that_is_half_empty_gets_no_interpreters_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[float] = []

    def keep(idle: Idle) -> None:
        asked.append(now())
        idle.asked = True

    monkeypatch.setattr(Idle, "keep_interpreter", keep)

    async def main() -> None:
        async with bench(create_seconds=1.0, parallel=1) as it:
            it.set("a", 8)
            await it.pool.ready()
            assert len(asked) == 8
            assert asked[0] >= 4.0
            assert max(map(asked.count, asked)) <= 4  # never all of them in one moment

    run_in_virtual_time(main())
