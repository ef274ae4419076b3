"""Any sequence of things that can happen to a pool: nothing is shared, nothing is lost, all is well
a while after the last of them.
"""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st
from pool_bench import Bench, bench, condemned

from assay.domain.errors import AssayError, RuntimeFailed, StorageError
from assay.drivers.fake import run_in_virtual_time
from assay.pool import Warm

OFTEN = ("claim", "change", "resize", "wait", "discard")
SELDOM = ("cancel", "remove", "kill", "break driver", "break database", "mend")
happenings = st.lists(
    st.tuples(
        st.sampled_from((*OFTEN, *OFTEN, *SELDOM)),
        st.sampled_from("ab"),
        st.integers(min_value=0, max_value=5),
    ),
    min_size=10,
    max_size=60,
)


class Day:
    """What happens, and what must be so whatever happens."""

    def __init__(self, it: Bench) -> None:
        self.it = it
        self.sizes = {"a": 2, "b": 0}
        self.memory = {"a": [64], "b": [64]}
        """All that was ever wanted, the last one now."""
        self.claims: list[asyncio.Future[Warm]] = []
        self.given: list[str] = []
        self.held: list[Warm] = []
        for name in self.sizes:
            self._set(name)

    def _set(self, name: str) -> None:
        self.it.set(name, self.sizes[name], memory_mib=self.memory[name][-1])

    async def happen(self, what: str, name: str, number: int) -> None:
        match what:
            case "claim":
                self.claims.append(asyncio.ensure_future(self._claim(name, str(number % 3))))
            case "cancel" if self.claims:
                self.claims[number % len(self.claims)].cancel()
            case "discard" if self.held:
                await self.it.pool.discard(self.held.pop(number % len(self.held)))
            case "resize":
                self.sizes[name] = number
                self._set(name)
            case "change":
                self.memory[name].append(64 + number)
                self._set(name)
            case "remove":
                self.it.pool.remove_environment(name)
            case "kill" if there := sorted(await self.it.driver.list()):
                self.it.driver.agent(there[number % len(there)]).die()
            case "break driver":
                self.it.driver.create_faults.error = RuntimeFailed("broken")
            case "break database":
                self.it.rows.error = StorageError("broken")
            case "mend":
                self.mend()
            case "wait":
                await asyncio.sleep(number / 10.0)
        await asyncio.sleep(0)

    def mend(self) -> None:
        self.it.driver.create_faults.error = self.it.rows.error = None

    async def _claim(self, name: str, owner: str) -> None:
        before = len(self.memory[name]) - 1
        warm = await self.it.pool.claim(name, owner=owner, deadline_seconds=3.0)
        assert warm.record.id not in self.given, "shared"
        made_with = self.it.driver.sandbox(warm.record.id).spec.limits.memory_bytes
        assert made_with >> 20 in self.memory[name][before:], "of an old version"
        self.given.append(warm.record.id)
        self.held.append(warm)

    def check(self) -> None:
        for stand in self.it.pool.statistics().values():
            assert stand.idle >= 0
            assert stand.used >= 0
            assert stand.waiting <= len(self.claims)

    async def settle(self) -> None:
        """After a minute without trouble everything is as it is wanted."""
        self.mend()
        for name in self.sizes:
            self._set(name)
        results = await asyncio.gather(*self.claims, return_exceptions=True)
        for result in results:
            assert result is None or isinstance(result, AssayError | asyncio.CancelledError), result
        await asyncio.sleep(60.0)
        for name, size in self.sizes.items():
            idle, creating, waiting, used = self.it.numbers(name)
            assert (idle, creating, waiting) == (size, 0, 0)
            assert used == sum(warm.record.environment == name for warm in self.held)
        held = {warm.record.id for warm in self.held}
        there = await self.it.sandboxes()
        assert held <= there
        assert len(there) == len(held) + sum(self.sizes.values())


@settings(max_examples=60, deadline=None)
@given(st.booleans(), happenings)
def test_whatever_happens_nothing_is_shared_and_all_is_well_a_minute_later(
    alone, happenings
) -> None:
    async def main() -> None:
        condemn = None if alone else condemned
        async with bench(create_seconds=0.05, condemn=condemn) as it:
            day = Day(it)
            await it.pool.ready()
            for what, name, number in happenings:
                await day.happen(what, name, number)
                day.check()
            await day.settle()
            it.rows.rows = {k: v for k, v in it.rows.rows.items() if k in await it.sandboxes()}

    run_in_virtual_time(main())
