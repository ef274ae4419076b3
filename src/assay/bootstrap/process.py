"""What every process that serves does with itself: its limits, its threads, its memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from assay.domain.errors import Unavailable

_OTHER_DESCRIPTORS: Final = 256
SECONDS_BETWEEN_THREADS: Final = 0.0005
"""Threads that make sandboxes let go of the interpreter so soon when a request wants it. With
Python's 5 ms, a request that meets them waits for several of these."""


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something beside the block; at its end, give up."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


def raise_descriptor_limit(sandboxes: int) -> None:
    """Let this process open what so many sandboxes take. Raises Unavailable when it may not.

    A connection for each, a hold on its process 1, and as many for clients; a few for all else.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(hard, 3 * sandboxes + _OTHER_DESCRIPTORS)
    for limit in (wanted, hard):
        with contextlib.suppress(OSError, ValueError):  # only root may pass the hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
            break
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < sandboxes + _OTHER_DESCRIPTORS:
        raise Unavailable(
            f"this process may open {most} files, too few for {sandboxes} sandboxes: raise the"
            " limit (systemd: LimitNOFILE=, else ulimit -Hn), or lower --most-sandboxes"
        )


def spare_the_collector() -> None:
    """What is there at the start stays for good; walking over all of it takes tenths of a second.

    Meanwhile nobody is served. What executions leave behind is mostly freed without the collector,
    so that it may come less often, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
