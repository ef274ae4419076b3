"""How many students of one grading have sandboxes at once, where these are few."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from assay.domain.outcome import Outcome, OutcomeKind
from assay.grading.joint import Seats
from assay.grading.script import grader
from assay.grading.script.crowd import Crowd


async def most_at_once(crowd: Crowd, students: int) -> int:
    there, most = 0, 0

    async def student() -> None:
        nonlocal there, most
        async with crowd.seat():
            there, most = there + 1, max(most, there + 1)
            await asyncio.sleep(0.01)
            there -= 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for _ in range(students):
            group.create_task(student())
    return most


async def test_students_have_their_own_seat_and_those_that_are_left() -> None:
    for total, expected in ((2, 1), (3, 2), (4, 3), (9, 3)):
        seats = Seats(total)
        async with seats.take(2):  # for a grader, and a student
            assert await most_at_once(Crowd(seats), 3) == expected
        assert seats.left == total


async def test_without_seats_there_are_always_enough() -> None:
    assert await most_at_once(Crowd(None), 8) == 8


async def test_gradings_that_all_want_more_do_not_wait_for_one_another() -> None:
    seats = Seats(4)
    async with seats.take(2), seats.take(2):
        both = (most_at_once(Crowd(seats), 3) for _ in range(2))
        assert await asyncio.gather(*both) == [1, 1]


async def test_what_somebody_waits_for_no_student_takes_besides() -> None:
    seats = Seats(4)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(seats.take(2))
        whole = asyncio.create_task(stack.enter_async_context(seats.take(3)))
        await asyncio.sleep(0)
        assert not seats.is_left
        assert await most_at_once(Crowd(seats), 3) == 1
        whole.cancel()
        await asyncio.wait((whole,))
        assert seats.is_left


async def test_who_waits_takes_whatever_is_free_first() -> None:
    """One that stays may be the server that the next one is to talk to."""
    for whose in ("another grading's", "a student's beside"):
        seats = Seats(4)
        crowd = Crowd(seats)
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(seats.take(2))
            another = await stack.enter_async_context(held(seats.take()))
            await stack.enter_async_context(crowd.seat())  # it stays
            beside = await stack.enter_async_context(held(crowd.seat()))
            waiting = asyncio.create_task(stack.enter_async_context(crowd.seat()))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            (another if whose.startswith("another") else beside).set()
            await asyncio.wait_for(waiting, 2)
        assert seats.left == 4
        assert not seats._watchers


async def test_who_gives_up_waiting_keeps_nothing() -> None:
    seats = Seats(2)
    crowd = Crowd(seats)
    async with seats.take(2):
        async with crowd.seat():
            waiting = [asyncio.create_task(enter(crowd)) for _ in range(3)]
            await asyncio.sleep(0.01)
            for each in waiting[:2]:
                each.cancel()
            await asyncio.wait(waiting[:2])
        await asyncio.wait_for(waiting[2], 2)
        assert await most_at_once(crowd, 2) == 1
    assert not seats._watchers


async def enter(crowd: Crowd) -> None:
    async with crowd.seat():
        pass


@contextlib.asynccontextmanager
async def held(seat: contextlib.AbstractAsyncContextManager[None]) -> AsyncIterator[asyncio.Event]:
    """A seat that is had until the event."""
    over, begun = asyncio.Event(), asyncio.Event()

    async def have() -> None:
        async with seat:
            begun.set()
            await over.wait()

    having = asyncio.create_task(have())
    await begun.wait()
    try:
        yield over
    finally:
        over.set()
        await having


async def test_only_who_waited_long_for_a_turn_lacked_the_time() -> None:
    seats = Seats(2)
    crowd = Crowd(seats)
    async with seats.take(2):
        assert await most_at_once(crowd, 2) == 1
        assert crowd.has_cost(6.0) == ""
        async with crowd.seat():
            waiting = [asyncio.create_task(enter(crowd)) for _ in range(2)]
            await asyncio.sleep(1.2)
        await asyncio.gather(*waiting)
    waited = re.search(r"had waited ([\d.]+) s", crowd.has_cost(6.0))
    assert waited is not None
    assert float(waited[1]) >= 1.2
    assert crowd.has_cost(60.0) == ""


@pytest.mark.parametrize(
    ("outcome", "excused"),
    [
        (Outcome(kind=OutcomeKind.TIMED_OUT, clock="wall"), True),
        (Outcome(kind=OutcomeKind.TIMED_OUT, clock="cpu"), False),
        (Outcome(kind=OutcomeKind.EXITED, code=1), False),
    ],
)
def test_waiting_takes_no_time_of_a_processor_and_so_excuses_none(
    outcome: Outcome, *, excused: bool
) -> None:
    waited = SimpleNamespace(crowd=SimpleNamespace(has_cost=lambda _seconds: "it had waited"))
    ended = SimpleNamespace(outcome=outcome)
    said = grader._for_want_of_sandboxes(ended, SimpleNamespace(wall_seconds=1), waited)  # type: ignore[arg-type]
    assert bool(said) is excused
