"""Seats, and who is cancelled while waiting for one."""

from __future__ import annotations

import asyncio

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
