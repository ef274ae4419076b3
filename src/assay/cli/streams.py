"""Standard input, output and error of this process, without ever blocking the event loop.

Reads and writes that may wait happen in a thread each: descriptors of one's own can't be made
non-blocking, as that would change them for the shell and for everybody else who has them too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

READ_BYTES: Final = 65536


class Input:
    """Bytes from a descriptor, as they come."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._thread = _Thread()

    async def read(self) -> bytes:
        """Return what is there, b"" at the end. A descriptor that can't be read is at its end."""
        try:
            return await self._thread.call(lambda: _read(self._descriptor))
        except OSError:
            return b""


class Output:
    """Bytes to a descriptor. Waits for a slow reader, and holds no more than one write."""

    def __init__(self, descriptor: int) -> None:
        self.at_line_start = True
        self._descriptor = descriptor
        self._thread = _Thread()

    async def write(self, data: bytes) -> None:
        """Return when all of it was taken. Raises OSError; BrokenPipeError: nobody reads."""
        if data:
            self.at_line_start = data.endswith(b"\n")
            await self._thread.call(lambda: _write(self._descriptor, data))


class _Thread:
    """Makes one call at a time. Python doesn't wait for it when it ends, whatever it is at."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._started = False

    async def call(self, work: Callable[[], Answer]) -> Answer:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()

        def job() -> None:
            result, failure = None, None
            try:
                result = work()
            except OSError as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, answer, result, failure)

        if not self._started:
            threading.Thread(target=self._work, daemon=True).start()
            self._started = True
        self._jobs.put(job)
        return await answer

    def _work(self) -> None:
        while True:
            self._jobs.get()()


def _settle(answer: asyncio.Future[Any], result: Any, failure: OSError | None) -> None:
    if answer.done():
        return
    if failure is not None:
        answer.set_exception(failure)
    else:
        answer.set_result(result)


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, READ_BYTES)
        except BlockingIOError:  # whoever started us had made it non-blocking
            _wait(descriptor, select.POLLIN)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _wait(descriptor, select.POLLOUT)


def _wait(descriptor: int, event: int) -> None:
    ready = select.poll()
    ready.register(descriptor, event)
    ready.poll()
