"""What the sandboxes of one grading may use together: the task's own and the learner's."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace

from assay.domain.errors import TaskFault
from assay.domain.facts import Measurement
from assay.domain.limits import MIB, ExecutionLimits
from assay.pool.queue import FairQueue

_LEAST_SECONDS = 0.05
"""Limits of no time at all make no sense to anybody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JointLimits:
    """Of all sandboxes of one grading."""

    wall_seconds: float = 1200.0
    """While anything runs; waiting for sandboxes doesn't count."""
    cpu_seconds: float = 1200.0
    """Of all programs, in sum."""
    memory_bytes: int = 8192 * MIB
    """That sandboxes may have at a time, in sum."""
    sandboxes: int = 16
    """At a time."""


class JointLimitReached(Exception):
    """No more may be used; the learner is to blame if learner's programs used the larger part."""

    def __init__(self, what: str, *, by_learner: bool) -> None:
        super().__init__(what)
        self.what = what
        self.by_learner = by_learner


_Turn = tuple[int, asyncio.Future[None]]


class Seats:
    """So many of something at a time; who needs several gets them at once, in order of arrival.

    Nobody who has some waits for more, so nobody waits for one another.
    """

    def __init__(self, total: int, others: Callable[[], int] = lambda: 0) -> None:
        """`others`: how many who takes no seats has; call `look` when these are fewer."""
        self.total = total
        self._others = others
        self._given = 0
        self._waiting: deque[_Turn] = deque()
        self._first: FairQueue[_Turn] = FairQueue()
        self._watchers: set[asyncio.Future[None]] = set()

    @property
    def left(self) -> int:
        """How many nobody has; less than none when others have taken too many."""
        return self.total - self._given - self._others()

    @property
    def is_left(self) -> bool:
        """Whether who takes one has it at once."""
        return self.left >= 1 and not (self._first or self._waiting)

    @contextlib.asynccontextmanager
    async def take(self, count: int = 1) -> AsyncIterator[None]:
        """Have so many; who wants more than there are has all of them alone."""
        turn = self._turn(count)
        if self._first or self._waiting or self.left < turn[0]:
            self._waiting.append(turn)
            await self._come(turn, lambda: _remove(self._waiting, turn))
        else:
            self._given += turn[0]
        with self._having(turn):
            yield

    @contextlib.asynccontextmanager
    async def take_first(self, owner: str) -> AsyncIterator[None]:
        """Have one, before all who `take`; owners who wait are served in turn.

        Raises PoolExhausted where too many of this owner's wait.
        """
        turn = self._turn(1)
        if self._first or self.left < turn[0]:
            self._first.add(owner, turn)
            await self._come(turn, lambda: self._first.discard(owner, turn))
        else:
            self._given += turn[0]
        with self._having(turn):
            yield

    def change(self) -> asyncio.Future[None]:
        """Done when somebody has given some back next; cancel it, if that is of no more use."""
        watcher = asyncio.get_running_loop().create_future()
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        return watcher

    def look(self) -> None:
        """Others may have fewer now: who waits may fit."""
        self._give(0)

    def _turn(self, count: int) -> _Turn:
        return min(count, self.total), asyncio.get_running_loop().create_future()

    async def _come(self, turn: _Turn, give_up: Callable[[], None]) -> None:
        count, come = turn
        try:
            await come
        except asyncio.CancelledError:
            if come.done() and not come.cancelled():
                self._give(count)
            else:
                give_up()
                self._give(0)  # those behind may fit
            raise

    @contextlib.contextmanager
    def _having(self, turn: _Turn) -> Iterator[None]:
        try:
            yield
        finally:
            self._give(turn[0])

    def _give(self, count: int) -> None:
        self._given -= count
        while (turn := self._next()) is not None:
            if not turn[1].done():  # who gave up at this moment is passed over
                self._given += turn[0]
                turn[1].set_result(None)
        for watcher in self._watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _next(self) -> _Turn | None:
        if self._first:
            return self._first.take() if self.left >= min(1, self.total) else None
        if self._waiting and (self._waiting[0][1].done() or self._waiting[0][0] <= self.left):
            return self._waiting.popleft()
        return None


def _remove(line: deque[_Turn], turn: _Turn) -> None:
    with contextlib.suppress(ValueError):  # who gave up before has passed it over
        line.remove(turn)


class Account:
    """What one grading has used so far."""

    def __init__(
        self, limits: JointLimits, at_once: int, wall_seconds: Callable[[], float]
    ) -> None:
        """`wall_seconds`: for how long something ran; `at_once`: sandboxes that it may have."""
        self.limits = limits
        self._wall = wall_seconds
        self._sandboxes = Seats(min(limits.sandboxes, at_once))
        self._memory = Seats(limits.memory_bytes)
        self.of_task = 0.0
        self.of_learner = 0.0
        """Seconds of the processor."""
        self.of_running = 0.0
        """The same of a program of the task's that has not ended yet, as far as that is known."""

    @contextlib.asynccontextmanager
    async def sandboxes(self, count: int, memory_bytes: int) -> AsyncIterator[None]:
        """Have so many at once, with so much memory together; wait until there are.

        Raises TaskFault for more than there ever will be.
        """
        limits = self.limits
        if count > limits.sandboxes or memory_bytes > limits.memory_bytes:
            raise TaskFault(
                f"this takes {count} sandboxes with {memory_bytes // MIB} MiB at once, and all of a"
                f" grading together may have {limits.sandboxes} with {limits.memory_bytes // MIB}"
                " MiB: raise `joint` in task.toml, or lower `sandbox`"
            )
        async with self._sandboxes.take(count), self._memory.take(memory_bytes):
            yield

    def cut(self, limits: ExecutionLimits) -> ExecutionLimits:
        """Limits of a program, as far as there is something left. Raises JointLimitReached."""
        self.require()
        cpu = self.limits.cpu_seconds - self._cpu
        wall = self.limits.wall_seconds - self._wall()
        return replace(
            limits,
            cpu_seconds=_least(limits.cpu_seconds, cpu),
            wall_seconds=_least(limits.wall_seconds, wall),
        )

    def spend(self, cpu_ns: Measurement | None, *, by_learner: bool) -> None:
        """A program has used so much. Raises JointLimitReached."""
        seconds = cpu_ns.value / 1e9 if cpu_ns else 0.0
        if by_learner:
            self.of_learner += seconds
        else:
            self.of_task += seconds
        self.require()

    def require(self) -> None:
        """Raise JointLimitReached when nothing is left."""
        limits = self.limits
        if self._cpu >= limits.cpu_seconds - _LEAST_SECONDS:
            what = f"{limits.cpu_seconds:g} s of processor time"
        elif self._wall() >= limits.wall_seconds - _LEAST_SECONDS:
            what = f"{limits.wall_seconds:g} s"
        else:
            return
        raise JointLimitReached(what, by_learner=self.is_learners)

    @property
    def is_learners(self) -> bool:
        """Whether learner's programs have used the larger part."""
        return self.of_learner > self.of_task + self.of_running

    @property
    def _cpu(self) -> float:
        return self.of_task + self.of_running + self.of_learner


def _least(own: float | None, left: float) -> float:
    return max(_LEAST_SECONDS, left if own is None else min(own, left))
