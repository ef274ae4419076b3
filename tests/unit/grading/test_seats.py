"""Seats, who is cancelled while waiting for one, and those whom runners leave too few."""

from __future__ import annotations

import asyncio

import pytest

from assay.bootstrap.seats import RunnersStock
from assay.domain.errors import PoolExhausted
from assay.grading.joint import Seats


async def test_who_has_one_and_who_waits_may_be_cancelled_at_once() -> None:
    seats = Seats(1)

    async def hold() -> None:
        async with seats.take():
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(hold()) for _ in range(3)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 3
    async with asyncio.timeout(1), seats.take():
        pass


async def test_what_others_have_is_not_given_until_they_have_fewer() -> None:
    others = 3
    seats = Seats(4, lambda: others)
    waiting = asyncio.create_task(_taken(seats, 2))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    others = 2
    seats.look()
    assert await asyncio.wait_for(waiting, 1)


async def _taken(seats: Seats, count: int) -> bool:
    async with seats.take(count):
        return True


class Pool:
    """Gives a number for each claim."""

    def __init__(self) -> None:
        self.used = 0

    async def claim(self, environment: str, **_: object) -> int:
        await asyncio.sleep(0)
        self.used += 1
        return self.used

    async def discard(self, claimed: object) -> None:
        self.used -= 1


async def test_runners_leave_gradings_what_these_have_seats_for() -> None:
    pool = Pool()
    seats = Seats(3, lambda: pool.used)
    stock = RunnersStock(pool, seats)  # type: ignore[arg-type]
    async with seats.take(2):
        await stock.claim("python")
        with pytest.raises(PoolExhausted, match=r"in use for 0\.05 seconds"):
            await stock.claim("python", deadline_seconds=0.05)
    assert pool.used == 1


async def test_runners_that_claim_at_once_take_no_more_than_is_left() -> None:
    pool = Pool()
    seats = Seats(3, lambda: pool.used)
    stock = RunnersStock(pool, seats)  # type: ignore[arg-type]
    async with seats.take(2):
        claims = (stock.claim("python", deadline_seconds=0.05) for _ in range(3))
        ended = await asyncio.gather(*claims, return_exceptions=True)
    assert sorted(type(each).__name__ for each in ended) == ["PoolExhausted"] * 2 + ["int"]


async def test_a_runner_that_ends_makes_room_for_a_grading_and_comes_before_it() -> None:
    pool = Pool()
    seats = Seats(2, lambda: pool.used)
    stock = RunnersStock(pool, seats)  # type: ignore[arg-type]
    mine = await stock.claim("python")
    grading = asyncio.create_task(_taken(seats, 2))
    await asyncio.sleep(0)
    await stock.claim("python", deadline_seconds=1)  # does not wait behind the grading
    assert not grading.done()
    await stock.discard(mine)  # type: ignore[arg-type]
    await stock.discard(mine)  # type: ignore[arg-type]
    assert await asyncio.wait_for(grading, 1)


async def test_runners_that_wait_are_served_in_their_own_order() -> None:
    pool = Pool()
    seats = Seats(1, lambda: pool.used)
    stock = RunnersStock(pool, seats)  # type: ignore[arg-type]
    mine = await stock.claim("python")
    grading = asyncio.create_task(_taken(seats, 1))
    served: list[str] = []

    async def claim(name: str) -> None:
        await stock.discard(await stock.claim("python", deadline_seconds=1))  # type: ignore[arg-type]
        served.append(name)

    waiting = [asyncio.create_task(claim(name)) for name in ("old", "middle", "new")]
    await asyncio.sleep(0)
    await stock.discard(mine)  # type: ignore[arg-type]
    await asyncio.gather(*waiting)
    assert served == ["old", "middle", "new"]
    assert await asyncio.wait_for(grading, 1)


async def test_owners_of_runners_that_wait_are_served_in_turn() -> None:
    """Who floods a server has no more of it than others."""
    pool = Pool()
    seats = Seats(1, lambda: pool.used)
    stock = RunnersStock(pool, seats)  # type: ignore[arg-type]
    mine = await stock.claim("python")
    served: list[str] = []

    async def claim(owner: str) -> None:
        claimed = await stock.claim("python", owner=owner, deadline_seconds=5)
        served.append(owner)
        await stock.discard(claimed)  # type: ignore[arg-type]

    waiting = [asyncio.create_task(claim("flood")) for _ in range(50)]
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(claim(owner)) for owner in ("ada", "ada", "bob")]
    await asyncio.sleep(0)
    await stock.discard(mine)  # type: ignore[arg-type]
    await asyncio.gather(*waiting)
    assert sorted(served[:3]) == ["ada", "bob", "flood"]
    assert served.index("ada", served.index("ada") + 1) < 6


async def test_of_one_owner_not_any_number_of_runners_wait() -> None:
    pool = Pool()
    seats = Seats(1, lambda: pool.used)
    stock = RunnersStock(pool, seats)  # type: ignore[arg-type]
    await stock.claim("python")
    claims = (stock.claim("python", owner="flood", deadline_seconds=0.5) for _ in range(201))
    ended = await asyncio.gather(*claims, return_exceptions=True)
    messages = [each.message for each in ended if isinstance(each, PoolExhausted)]
    assert len(messages) == 201
    assert sum("with this token wait" in each for each in messages) == 1


async def test_a_runner_that_gives_up_leaves_its_turn_to_others() -> None:
    pool = Pool()
    seats = Seats(1, lambda: pool.used)
    stock = RunnersStock(pool, seats)  # type: ignore[arg-type]
    mine = await stock.claim("python")
    impatient = [
        asyncio.create_task(stock.claim("python", owner=owner, deadline_seconds=9))
        for owner in ("ada", "ada", "bob")
    ]
    await asyncio.sleep(0)
    await stock.discard(mine)  # type: ignore[arg-type]
    for task in impatient:
        task.cancel()
    ended = await asyncio.gather(*impatient, return_exceptions=True)
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 3
    async with asyncio.timeout(1), seats.take():
        pass
