"""What comes at the same time shares a transaction, and its questions: one round for all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from assay.domain.errors import AssayError, Busy

MOST_TOGETHER: Final = 256
MOST_BYTES_TOGETHER: Final = 8 * 1024 * 1024
MOST_BYTES_WAITING: Final = 64 * 1024 * 1024
"""Of what waits for the database: while it is away, memory must not fill."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Together(Generic[Item, Answer]):
    """Collects what comes while the transaction of what came before is under way."""

    def __init__(
        self,
        perform: Callable[[list[Item]], asyncio.Future[Sequence[Answer | AssayError]]],
        size: Callable[[Item], int],
    ) -> None:
        """`perform` answers for each item, in their order; `size` is in bytes."""
        self._perform = perform
        self._size = size
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._bytes = 0
        self._under_way = False

    def add(self, item: Item) -> asyncio.Future[Answer]:
        """Done when it is durable. Raises Busy when too much is waiting for the database."""
        if self._bytes + self._size(item) > MOST_BYTES_WAITING:
            raise Busy("too much is being handed in at once: try again in some seconds")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._bytes += self._size(item)
        self._waiting.append((item, future))
        if not self._under_way:
            # What comes in the same moment comes along.
            self._under_way = True
            loop.call_soon(self._next)
        return future

    def _next(self) -> None:
        if not self._waiting:
            self._under_way = False
            return
        batch = self._take()
        done = self._perform([item for item, _ in batch])
        done.add_done_callback(lambda performed: self._answer(batch, performed))

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        size = count = 0
        for item, _ in self._waiting[:MOST_TOGETHER]:
            if count and size + self._size(item) > MOST_BYTES_TOGETHER:
                break
            size, count = size + self._size(item), count + 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    def _answer(
        self,
        batch: Sequence[tuple[Item, asyncio.Future[Answer]]],
        performed: asyncio.Future[Sequence[Answer | AssayError]],
    ) -> None:
        self._bytes -= sum(self._size(item) for item, _ in batch)
        error = performed.exception()
        if error is None:
            answers: Sequence[Answer | BaseException] = performed.result()
        else:
            answers = [error] * len(batch)
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():  # cancelled: it is kept all the same
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
                future.exception()
            else:
                future.set_result(answer)
        self._next()
