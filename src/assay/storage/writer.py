"""The one thread that uses the database: it takes all that waits into one transaction.

Many writes a second then cost few commits, in the order in which they were asked for; those that
nobody waits for come along with others'. One that the
database refuses doesn't take the others with it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from assay.domain.errors import AssayError, StorageError
from assay.storage.connection import CLOCK_SECONDS, Database, Lost, Step
from assay.storage.events import Committed, DatabaseBack, DatabaseLost, Event, StorageFailed
from assay.storage.failures import is_about_one_statement, storage_error

PAUSE_SECONDS: Final = 0.002
"""From one commit's end to the next batch, so that much at once costs little."""
LATER_SECONDS: Final = 0.05
"""How long what nobody waits for may wait for somebody else's transaction."""
MOST_AT_ONCE: Final = 1000
PATIENCE_SECONDS: Final = 10.0
"""How long an operation waits for a database that went away."""
SHORTEST_WAIT: Final = 0.05
LONGEST_WAIT: Final = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """What somebody asked for, and the future of who waits for it."""

    name: str
    step: Step
    future: asyncio.Future[object]
    deadline: float


Done = tuple[Operation, object]
"""An operation, and its result or error."""


class Writer:
    """The thread. Its results and events arrive in the event loop's thread."""

    def __init__(
        self,
        database: Database,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[[Event], None] | None,
        *,
        name: str = "assay-storage",
    ) -> None:
        self._database = database
        self._loop = loop
        self._on_event = on_event
        self._queue: queue.SimpleQueue[Operation | None] = queue.SimpleQueue()
        self._later: list[Operation] = []
        self._soon: asyncio.TimerHandle | None = None
        self._lost_at: float | None = None
        self._opened: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def start(self) -> None:
        """Open the database. Raises StorageError."""
        self._thread.start()
        await asyncio.shield(self._opened)

    def submit(self, operation: Operation, *, later: bool = False) -> None:
        """Put an operation behind all others; with `later` it may wait there for the next one."""
        self._later.append(operation)
        if not later:
            self.hand_over()
        elif self._soon is None:
            self._soon = self._loop.call_later(LATER_SECONDS, self.hand_over)

    def hand_over(self) -> None:
        """Let no operation wait any longer for the next one."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        waiting, self._later = self._later, []
        for operation in waiting:
            self._queue.put(operation)

    async def stop(self) -> None:
        """Do what waits, and end."""
        self.hand_over()
        self._queue.put(None)
        await asyncio.shield(self._ended)
        self._thread.join()

    # --- in the thread ---

    def _run(self) -> None:
        try:
            self._database.open()
        except Exception as error:
            self._in_loop(_settle, self._opened, error)
            return
        self._in_loop(_settle, self._opened, None)
        while (batch := self._next_batch()) is not None:
            if batch:
                self._perform(batch)
                time.sleep(PAUSE_SECONDS)
        self._database.close()
        self._in_loop(_settle, self._ended, None)

    def _next_batch(self) -> list[Operation] | None:
        """What waits, or None at the end. An empty one: nothing was asked for lately."""
        try:
            first = self._queue.get(timeout=CLOCK_SECONDS)
        except queue.Empty:
            self._refresh()
            return []
        if first is None:
            return None
        batch = [first]
        while len(batch) < MOST_AT_ONCE:
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                break
            if following is None:
                self._queue.put(None)  # the end is found again when this is done
                break
            batch.append(following)
        return batch

    def _perform(self, batch: list[Operation]) -> None:
        waits = SHORTEST_WAIT
        while batch:
            started = time.monotonic()
            try:
                done = self._transact(batch)
            except Lost as lost:
                self._note_loss(lost.error)
                batch = self._still_in_time(batch, lost.error)
                if batch:
                    time.sleep(waits)
                    waits = min(2 * waits, LONGEST_WAIT)
            else:
                self._note_return()
                self._report(done, time.monotonic() - started)
                return

    def _transact(self, batch: Sequence[Operation]) -> list[Done]:
        """The result of each operation. Raises Lost."""
        try:
            self._database.refresh()
            results = self._database.transact([each.step for each in batch])
        except Lost:
            raise
        except Exception as error:
            if len(batch) == 1 or not is_about_one_statement(error):
                return [(each, storage_error(error, self._database.place)) for each in batch]
        else:
            return list(zip(batch, results, strict=True))
        # One of them is at fault, and has taken the others' transaction with it.
        return [done for each in batch for done in self._alone(each)]

    def _alone(self, operation: Operation) -> list[Done]:
        try:
            return self._transact([operation])
        except Lost as lost:
            self._note_loss(lost.error)
            return [(operation, lost.error)]

    def _still_in_time(self, batch: list[Operation], error: StorageError) -> list[Operation]:
        now = time.monotonic()
        late = [each for each in batch if each.deadline <= now]
        if late:
            self._report([(each, storage_error(error, "")) for each in late], 0.0)
        return [each for each in batch if each.deadline > now]

    def _refresh(self) -> None:
        try:
            self._database.refresh()
        except Lost as lost:
            self._note_loss(lost.error)
        except Exception as error:
            failure = storage_error(error, self._database.place)
            self._tell(StorageFailed(operation="refresh", error=failure))
        else:
            self._note_return()

    def _note_loss(self, error: StorageError) -> None:
        if self._lost_at is None:
            self._lost_at = time.monotonic()
            self._tell(DatabaseLost(error=error))

    def _note_return(self) -> None:
        if self._lost_at is not None:
            self._tell(DatabaseBack(seconds=time.monotonic() - self._lost_at))
            self._lost_at = None

    def _tell(self, event: Event) -> None:
        self._in_loop(self._observe, event)

    def _report(self, done: list[Done], seconds: float) -> None:
        self._in_loop(self._resolve, done, seconds)

    def _in_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop was closed, and nobody waits any more
            return

    # --- in the event loop ---

    def _resolve(self, done: list[Done], seconds: float) -> None:
        for operation, result in done:
            if isinstance(result, AssayError):
                self._observe(StorageFailed(operation=operation.name, error=result))
            _settle(operation.future, result)
        self._observe(Committed(operations=len(done), seconds=seconds))

    def _observe(self, event: Event) -> None:
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception as error:  # an observer's fault must not cost a write
            self._loop.call_exception_handler(
                {"message": f"the observer of {event} failed", "exception": error}
            )


def _settle(future: asyncio.Future[object], result: object) -> None:
    if future.done():  # cancelled: nobody wants to know
        return
    if isinstance(result, Exception):
        future.set_exception(result)
        future.exception()  # it was reported: who doesn't wait must not hear of it again
    else:
        future.set_result(result)
