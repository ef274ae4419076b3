"""What arrives on schedule: when to begin, and what is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from time import monotonic  # the loop's own clock counts milliseconds
from typing import Any, Final

GRACE_SECONDS: Final = 60.0
"""How much longer than its programs a job may take before what is left is given up."""


class Work:
    """Tasks that are on their way."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.most = 0

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        self.most = max(self.most, len(self.tasks))
        task.add_done_callback(self.tasks.discard)

    async def all_done(self, seconds: float) -> None:
        """Wait for them, at most so long; what is not done then is given up."""
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=seconds)
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)


async def until(moment: float, stop: asyncio.Event) -> bool:
    """Wait for it; returns whether to stop."""
    # It is the clock that is waited for, and timers may be a little early.
    while (delay := moment - monotonic()) > 0 and not stop.is_set():  # noqa: ASYNC110
        await asyncio.sleep(delay)
    return stop.is_set()
