"""Standard input on its way from Poseidon's clients to a program that reads when it likes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from assay.domain.errors import InvalidInput
from assay.runners import Attachment

WAITING_MOST: Final = 1024 * 1024
"""Bytes that wait here before the client isn't listened to any more."""
_EACH: Final = 64
"""What a message takes besides its bytes: a client may send a million of one byte."""


class Feeder:
    """Writes what has come, in order, while its owner goes on listening to the client.

    So a program that reads nothing doesn't keep its client's Close, signals and acknowledgements
    from being heard. The task that writes is there only while something waits.
    """

    def __init__(self, attachment: Attachment) -> None:
        self._attachment = attachment
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def put(self, data: bytes) -> None:
        """Take bytes; waits only while more than `WAITING_MOST` of them wait already."""
        if not data:
            return
        self._waiting.append(data)
        self._bytes += len(data) + _EACH
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_all())
        while self._bytes > WAITING_MOST and self._task is not None:
            self._room.clear()
            await self._room.wait()

    async def aclose(self) -> None:
        """Drop what waits."""
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                data = self._waiting.popleft()
                await self._attachment.write(data)
                self._bytes -= len(data) + _EACH
                self._room.set()
        except InvalidInput:  # started without standard input: what is sent is for nobody
            self._waiting.clear()
            self._bytes = 0
        finally:
            self._task = None
            self._room.set()
