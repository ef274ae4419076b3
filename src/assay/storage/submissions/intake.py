"""What is handed in at the same time shares a transaction, and its questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from assay.domain.errors import Busy, InvalidInput
from assay.domain.submission import NewSubmission, Receipt

MOST_TOGETHER: Final = 256
MOST_BYTES_TOGETHER: Final = 8 * 1024 * 1024
MOST_BYTES_WAITING: Final = 64 * 1024 * 1024
"""Of contents that wait for the database: while it is away, memory must not fill."""

Answers = Sequence[Receipt | InvalidInput]
Add = Callable[[list[NewSubmission]], "asyncio.Future[Answers]"]


class Intake:
    """Collects what comes while the transaction of those before is under way."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._waiting: list[tuple[NewSubmission, asyncio.Future[Receipt]]] = []
        self._bytes = 0
        self._under_way = False

    def add(self, new: NewSubmission) -> asyncio.Future[Receipt]:
        """Done when it is durable. Raises Busy when too much is waiting for the database."""
        if self._bytes + len(new.content) > MOST_BYTES_WAITING:
            raise Busy("too much is being handed in at once: try again in some seconds")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._bytes += len(new.content)
        self._waiting.append((new, future))
        if not self._under_way:
            # Those who come in the same moment come along.
            self._under_way = True
            loop.call_soon(self._next)
        return future

    def _next(self) -> None:
        if not self._waiting:
            self._under_way = False
            return
        batch = self._take()
        done = self._add([new for new, _ in batch])
        done.add_done_callback(lambda added: self._answer(batch, added))

    def _take(self) -> list[tuple[NewSubmission, asyncio.Future[Receipt]]]:
        size = count = 0
        for new, _ in self._waiting[:MOST_TOGETHER]:
            if count and size + len(new.content) > MOST_BYTES_TOGETHER:
                break
            size, count = size + len(new.content), count + 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _answer(
        self,
        batch: Sequence[tuple[NewSubmission, asyncio.Future[Receipt]]],
        added: asyncio.Future[Answers],
    ) -> None:
        self._bytes -= sum(len(new.content) for new, _ in batch)
        error = added.exception()
        answers = [error] * len(batch) if error is not None else added.result()
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():  # cancelled: it was handed in all the same
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
                future.exception()
            else:
                future.set_result(answer)
        self._next()
