"""Sandboxes on their way out: destroyed, however often it must be tried, and then forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from assay.agent.client import Agent
from assay.domain.errors import AssayError, DriverError
from assay.driver.port import Driver
from assay.pool.events import SandboxNotDestroyed
from assay.pool.plan import backoff
from assay.pool.rows import Rows

PATIENCE_SECONDS: Final = 5.0
"""How long somebody who ends a sandbox waits for it; it goes on without."""


Condemn = Callable[[str], Awaitable[object]]
"""Writes down that a sandbox is about to be destroyed, so that no other server adopts it. Raises
StorageError when another one has it already, or when that can't be known now."""


class Endings:
    """Destroys sandboxes, a few at a time, in tasks of its own."""

    def __init__(
        self,
        driver: Driver,
        rows: Rows,
        *,
        parallel: int,
        jitter: Callable[[], float],
        on_failure: Callable[[SandboxNotDestroyed], None],
        condemn: Condemn | None = None,
    ) -> None:
        self._driver = driver
        self._rows = rows
        self._jitter = jitter
        self._on_failure = on_failure
        self._condemn = condemn
        self._room = asyncio.Semaphore(parallel)
        self._closing = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """Whether any are on their way out."""
        return bool(self._tasks)

    def begin(
        self,
        sandbox_id: str,
        agent: Agent | None = None,
        *,
        added: asyncio.Future[object] | None = None,
    ) -> asyncio.Task[None]:
        """Close the connection, destroy the sandbox, remove its row. Once for all who ask.

        `added`: the write of its row, where that may still fail.
        """
        task = self._tasks.get(sandbox_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._end(sandbox_id, agent, added))
            self._tasks[sandbox_id] = task
            task.add_done_callback(lambda _done: self._tasks.pop(sandbox_id, None))
        return task

    async def end(self, sandbox_id: str, agent: Agent | None = None) -> None:
        """The same, and wait for it: to the end, unless destroying fails. Never raises."""
        await asyncio.wait((self.begin(sandbox_id, agent),), timeout=PATIENCE_SECONDS)

    async def aclose(self) -> None:
        """Try everything that is unfinished to its end once more, and then give up."""
        self._closing.set()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks.values()))

    async def _end(
        self, sandbox_id: str, agent: Agent | None, added: asyncio.Future[object] | None
    ) -> None:
        if agent is not None:
            await agent.aclose()
        condemn = self._condemn
        if condemn is not None and added is not None and not await _was_done(added):
            condemn = None  # without a row, no other server can have it
        failures = 0
        while (error := await self._destroy(sandbox_id, condemn)) is not None:
            self._on_failure(SandboxNotDestroyed(sandbox_id=sandbox_id, error=error))
            if self._closing.is_set():
                return  # its row stays, and the next server destroys it
            failures += 1
            await self._pause(backoff(failures, self._jitter()))
        try:
            await self._rows.remove_sandbox(sandbox_id)
        except AssayError as row_error:
            # A row without a sandbox is removed at the next start.
            self._on_failure(SandboxNotDestroyed(sandbox_id=sandbox_id, error=row_error))

    async def _destroy(self, sandbox_id: str, condemn: Condemn | None) -> AssayError | None:
        async with self._room:
            try:
                if condemn is not None:
                    await condemn(sandbox_id)
                await self._driver.destroy(sandbox_id)
            except AssayError as error:
                return error
            except Exception as error:  # whatever it was, the sandbox is there still
                return DriverError("the driver could not destroy a sandbox", detail=repr(error))
        return None

    async def _pause(self, seconds: float) -> None:
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait((closing,), timeout=seconds)
        finally:
            closing.cancel()


async def _was_done(write: asyncio.Future[object]) -> bool:
    await asyncio.wait((write,))
    return not write.cancelled() and write.exception() is None
