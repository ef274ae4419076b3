"""Work that has to be finished, whoever gives up waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any


async def to_the_end(work: asyncio.Future[Any] | Coroutine[Any, Any, Any]) -> None:
    """Await it even while being cancelled again and again; it raises nothing."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
