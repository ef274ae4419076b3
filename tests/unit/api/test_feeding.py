"""Input that a program does not read waits here, and not without bounds."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from assay.api.feeding import WAITING_MOST, Feeder
from assay.runners import Attachment


class Program:
    """Reads when it is told to."""

    def __init__(self) -> None:
        self.reads = asyncio.Event()
        self.read: list[bytes] = []

    async def write(self, data: bytes) -> None:
        await self.reads.wait()
        self.read.append(data)


@pytest.mark.parametrize("message", [b"x", b"x" * 5000])
async def test_a_client_is_not_listened_to_while_much_waits(message: bytes) -> None:
    program = Program()
    feeder = Feeder(cast("Attachment", program))
    count = 0

    async def flood() -> None:
        nonlocal count
        while True:
            await feeder.put(message)
            count += 1

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(flood(), 0.5)
    assert count * (len(message) + 64) <= WAITING_MOST + 2 * 5064
    program.reads.set()
    await feeder.put(b"last")
    async with asyncio.timeout(5):
        while program.read[-1:] != [b"last"]:  # noqa: ASYNC110 (it says nothing when it is over)
            await asyncio.sleep(0.01)
    await feeder.aclose()


async def test_messages_without_bytes_take_no_memory() -> None:
    program = Program()
    feeder = Feeder(cast("Attachment", program))
    for _ in range(1000):
        await feeder.put(b"")
    program.reads.set()
    await asyncio.sleep(0)
    assert program.read == []
    await feeder.aclose()
