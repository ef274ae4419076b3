"""Work that has to be finished, whoever gives up waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def to_the_end(work: asyncio.Future[Any] | Coroutine[Any, Any, Any]) -> None:
    """Await it even while being cancelled again and again; it raises nothing."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
    if not task.cancelled():
        task.exception()


async def unbroken(work: asyncio.Future[R] | Coroutine[Any, Any, R]) -> R:
    """Its result. It is not cut off: who is cancelled meanwhile is so at its end."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_the_end(task)
        raise


async def in_thread(
    threads: Executor, function: Callable[P, R], *args: P.args, **named: P.kwargs
) -> R:
    """Call it in one of them, unbroken."""
    loop = asyncio.get_running_loop()
    return await unbroken(loop.run_in_executor(threads, partial(function, *args, **named)))
