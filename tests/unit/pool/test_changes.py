"""Environments that are changed, resized and removed under a pool."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from pool_bench import bench, environment

from assay.domain.errors import UnknownEnvironment
from assay.drivers.fake import FakeDriver, run_in_virtual_time


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
