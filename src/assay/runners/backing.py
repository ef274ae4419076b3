"""What all runners of a server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from assay.domain.lease import Lease
from assay.driver.port import Driver
from assay.runners.events import RunnersEvent
from assay.runners.values import Claimed, Stock
from assay.storage.records import ExecutionRecord


class LeaseStorage(Protocol):
    """What runners keep in the database. Awaiting a write means that it survives everything."""

    def clock(self) -> float:
        """Seconds since 1970 on the database's clock."""
        ...

    def add_lease(self, lease: Lease, /) -> asyncio.Future[bool]:
        """Somebody has a sandbox."""
        ...

    def replace_lease(self, lease: Lease, /) -> asyncio.Future[bool]:
        """They have it otherwise, or another one."""
        ...

    def end_lease(self, runner_id: str, /) -> asyncio.Future[bool]:
        """They have it no more; its executions and its sandbox are forgotten as well."""
        ...

    def touch_leases(self, active_at: Mapping[str, float], /) -> asyncio.Future[bool]:
        """These runners were active then."""
        ...

    def add_execution(self, record: ExecutionRecord, /) -> asyncio.Future[bool]:
        """Somebody asked for an execution."""
        ...

    def remove_execution(self, execution_id: str, /) -> asyncio.Future[bool]:
        """Nobody asks for it any more."""
        ...


class Background:
    """Tasks that nobody waits for, until the server ends. Their failures are told, not hidden."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it meanwhile."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            task.get_loop().call_exception_handler(
                {"message": "work for a runner failed", "exception": error, "task": task}
            )

    async def settle(self, seconds: float) -> None:
        """Wait for what goes on, so long at most; then cancel it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        while self._tasks:
            left = list(self._tasks)
            for task in left:
                task.cancel()
            await asyncio.wait(left)


@dataclass(frozen=True, kw_only=True, slots=True)
class Backing:
    """Where runners get what they need."""

    driver: Driver
    stock: Stock
    storage: LeaseStorage
    epochs: Callable[[], int]
    """A higher number each time: every connection to an agent has an epoch of its own."""
    port_host: str
    retain_seconds: float
    detached_seconds: float
    background: Background
    on_event: Callable[[RunnersEvent], None] | None

    def tell(self, event: RunnersEvent) -> None:
        """Tell who records events; their fault must cost nobody a runner."""
        if self.on_event is None:
            return
        try:
            self.on_event(event)
        except Exception as error:
            asyncio.get_running_loop().call_exception_handler(
                {"message": f"the observer of {event} failed", "exception": error}
            )


def ignore_result(future: asyncio.Future[Any]) -> None:
    """Let a write go that nobody waits for; the storage tells of its failure."""
    future.add_done_callback(_look)


def _look(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def keep_interpreter(claimed: Claimed) -> None:
    """Let an interpreter wait between the programs of a sandbox that runs more than one.

    Nothing changes where one was asked for while nobody had the sandbox.
    """
    interpreter, agent = claimed.blueprint.interpreter(), claimed.session.agent
    if interpreter is not None and agent.lost is None:
        agent.keep_interpreter(interpreter)
