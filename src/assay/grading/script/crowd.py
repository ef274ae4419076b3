"""Seats of the students of one grading, where sandboxes are few: and how long students waited."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

from assay.grading.joint import Seats

_LEAST_SECONDS = 1.0
_SHARE = 0.1


class Crowd:
    """One seat is the grading's own, taken with the grader's. Others it has as long as they are
    left over; for these nobody waits, so that no grading waits for another one that waits too.
    """

    def __init__(self, seats: Seats | None) -> None:
        """`seats`: all gradings'; None: there are always enough."""
        self._others = seats
        self._own = Seats(1)
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._since = 0.0
        self._waited = 0.0

    @contextlib.asynccontextmanager
    async def seat(self) -> AsyncIterator[None]:
        """Have one; wait until another student of this grading has ended, or one is left over."""
        if self._others is None:
            yield
            return
        async with contextlib.AsyncExitStack() as taken:
            with self._waits():
                async with self._turn:
                    seats = await self._free(self._others)
                    await taken.enter_async_context(seats.take())
            yield

    async def _free(self, others: Seats) -> Seats:
        """Where one can be taken at once."""
        while self._own.left < 1 and not others.is_left:
            changes = (self._own.change(), others.change())
            try:
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in changes:
                    each.cancel()
        return others if self._own.left < 1 else self._own

    @property
    def is_more_left(self) -> bool:
        """Whether a sandbox ahead of its use keeps nobody from one now."""
        return self._others is None or self._others.is_left

    @contextlib.contextmanager
    def _waits(self) -> Iterator[None]:
        """A student waits for its turn during the block; making its sandbox takes what it takes."""
        now = time.monotonic()
        if not self._waiting:
            self._since = now
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._waited += time.monotonic() - self._since

    def has_cost(self, wall_seconds: float) -> str:
        """Why a grader that had so much time may have lacked it, but for waiting; "": it had it."""
        if self._waited < max(_LEAST_SECONDS, _SHARE * wall_seconds):
            return ""
        return (
            f"the grader's {wall_seconds:g} s were over, and its students' programs had waited"
            f" {self._waited:.3g} s for sandboxes: the server has few (--most-sandboxes), or the"
            " grader runs more programs of students at once than it has"
        )
