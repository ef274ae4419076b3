"""A pool over fake sandboxes, in virtual time: what it keeps, and what it gives to whom."""

from __future__ import annotations

import asyncio

import pytest
from pool_bench import RowsInMemory, bench, condemned, now

from assay.domain.errors import (
    CapacityExceeded,
    EnvironmentUnusable,
    PoolExhausted,
    RuntimeFailed,
    UnknownEnvironment,
)
from assay.driver.guard import Guard
from assay.drivers.fake import run_in_virtual_time
from assay.pool import (
    Claimed,
    ClaimFailed,
    PoolChanged,
    SandboxAdded,
    SandboxFailed,
)
from assay.pool.shelf import Idle
from assay.pool.upkeep import SECONDS_TO_SETTLE


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


@pytest.mark.parametrize("alone", [True, False])
def test_a_claim_from_the_stock_costs_one_commit_or_none_where_a_server_is_alone(
    alone: bool,
) -> None:
    async def main() -> None:
        async with bench(condemn=None if alone else condemned) as it:
            it.set("a", 2)
            await it.pool.ready()
            started = now()
            warm = await it.pool.claim("a")
            assert now() - started == pytest.approx(0.0 if alone else it.rows.seconds)
            assert warm.record.taken
            await asyncio.sleep(0)
            assert it.rows.taken == [warm.record.id], "put off with no need, or not at all"
            await asyncio.sleep(2 * it.rows.seconds if alone else 0.0)
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


def test_a_sandbox_is_written_down_at_once_only_for_who_waits() -> None:
    async def main() -> None:
        async with bench(create_seconds=0.1, rows=RowsInMemory(later_seconds=5.0)) as it:
            it.set("a", 0)
            await it.pool.blueprint("a")
            await it.pool.claim("a")
            assert it.rows.added_later == []
            it.set("a", 1)
            await asyncio.sleep(1.0)
            assert it.numbers("a")[:2] == (0, 1), "it waits for another one's write"
            started = now()
            warm = await it.pool.claim("a")
            assert it.rows.added_later == [warm.record.id]
            assert now() - started <= 0.01

    run_in_virtual_time(main())


def test_of_several_servers_each_writes_down_at_once_what_others_may_have_to_see_to() -> None:
    async def main() -> None:
        rows = RowsInMemory(later_seconds=5.0)
        async with bench(create_seconds=0.1, rows=rows, condemn=condemned) as it:
            it.set("a", 1)
            await asyncio.sleep(1.0)
            assert it.numbers("a")[0] == 1
            assert rows.added_later == []

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
            await asyncio.sleep(SECONDS_TO_SETTLE)
            added = [each for each in it.events if isinstance(each, SandboxAdded)]
            assert len(added) == 3
            assert all(each.seconds >= 0.1 for each in added)
            changes = [each.statistics for each in it.events if isinstance(each, PoolChanged)]
            assert changes[-1] == it.pool.statistics()["a"]
            assert {each.creating for each in changes} >= {0, 1}

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
