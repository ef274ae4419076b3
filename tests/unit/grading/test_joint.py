"""Joint limits of one grading, and seats for sandboxes that several gradings share."""

from __future__ import annotations

import asyncio

import pytest

from assay.domain.errors import TaskFault
from assay.domain.facts import Measurement, Source
from assay.domain.limits import MIB, ExecutionLimits
from assay.grading.joint import Account, JointLimitReached, JointLimits, Seats

SECOND = 10**9


def _ns(seconds: float) -> Measurement:
    return Measurement(value=int(seconds * SECOND), source=Source.HOST)


def _account(wall: float = 0.0, **limits: float) -> Account:
    made = JointLimits(**{"cpu_seconds": 10.0, "wall_seconds": 20.0, **limits})  # type: ignore[arg-type]
    return Account(made, 16, lambda: wall)


async def test_who_needs_several_seats_gets_them_at_once_and_nobody_waits_for_one_another() -> None:
    seats = Seats(3)
    done = []

    async def grading(number: int) -> None:
        async with seats.take(2):
            await asyncio.sleep(0)
            done.append(number)

    async with asyncio.timeout(5):
        await asyncio.gather(*map(grading, range(20)))
    assert done == list(range(20))


async def test_who_wants_more_seats_than_there_are_has_all_of_them_alone() -> None:
    seats = Seats(2)
    async with seats.take(5):
        waiting = asyncio.create_task(_taken(seats, 1))
        await asyncio.sleep(0.01)
        assert not waiting.done()
    assert await waiting


async def test_who_is_cancelled_while_waiting_keeps_no_seat_and_holds_up_nobody() -> None:
    seats = Seats(2)
    async with seats.take(1):
        large = asyncio.create_task(_taken(seats, 2))
        await asyncio.sleep(0)
        small = asyncio.create_task(_taken(seats, 1))
        await asyncio.sleep(0)
        large.cancel()
        assert await small
    async with asyncio.timeout(1):
        assert await _taken(seats, 2)


async def _taken(seats: Seats, count: int) -> bool:
    async with seats.take(count):
        return True


def test_limits_of_a_program_are_cut_to_what_is_left() -> None:
    account = _account(wall=15.0)
    account.spend(_ns(7), by_learner=True)
    cut = account.cut(ExecutionLimits(wall_seconds=10, cpu_seconds=2))
    assert (cut.wall_seconds, cut.cpu_seconds) == (5.0, 2)
    assert account.cut(ExecutionLimits()).cpu_seconds == 3.0


@pytest.mark.parametrize(("of_task", "of_learner", "fault"), [(1, 9, True), (8, 2, False)])
def test_who_used_the_larger_part_is_to_blame(
    of_task: float, of_learner: float, fault: bool
) -> None:
    account = _account()
    account.spend(_ns(of_task), by_learner=False)
    with pytest.raises(JointLimitReached) as reached:
        account.spend(_ns(of_learner), by_learner=True)
    assert reached.value.by_learner is fault
    with pytest.raises(JointLimitReached):
        account.cut(ExecutionLimits())


def test_time_on_the_clock_is_used_up_as_well() -> None:
    with pytest.raises(JointLimitReached, match="20 s"):
        _account(wall=20.0).require()


async def test_more_at_once_than_there_ever_will_be_is_the_tasks_fault() -> None:
    account = _account(sandboxes=2, memory_bytes=512 * MIB)
    for count, memory in ((3, 64 * MIB), (1, 513 * MIB)):
        with pytest.raises(TaskFault, match="joint"):
            async with account.sandboxes(count, memory):
                pass
