"""Takes submissions out of the queue, so many at a time, and sees to it that each is graded."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from assay.domain.errors import AssayError, Busy, StorageError
from assay.domain.line import Timing
from assay.domain.submission import KeptResult, Measured, State, Submission, Work
from assay.grading import events
from assay.grading.queue.lease import BEAT_SECONDS
from assay.grading.queue.retry import Again, after_failure, pause_seconds, reason_of
from assay.grading.submissions import SECONDS_BETWEEN_LOOKS, Submissions, error_result
from assay.storage.submissions.steps import Ending

DRAIN_SECONDS: Final = 30.0
"""How long what is being graded may go on when the worker is told to end."""
_TEND_SECONDS: Final = 1.0
_LONGEST_WAIT: Final = 5.0
"""Between two tries to tell the database something that it has not taken."""

Grade = Callable[[Work], Awaitable[KeptResult]]
"""Grades a submission. What it raises is not the learner's fault."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failure:
    error: Exception


class Worker:
    """Run it as `await worker.run()`; `stop()` drains it, as SIGTERM should."""

    def __init__(
        self,
        submissions: Submissions,
        grade: Grade,
        *,
        slots: int,
        on_event: Callable[[events.Event], None] | None = None,
        drain_seconds: float = DRAIN_SECONDS,
    ) -> None:
        """`slots`: how many it grades at once."""
        self.id = uuid.uuid4().hex
        self._submissions = submissions
        self._store = submissions.store
        self._grade = grade
        self._slots = slots
        self._on_event = on_event or (lambda _: None)
        self._drain_seconds = drain_seconds
        self._held: dict[str, tuple[Submission, asyncio.Task[None]]] = {}
        self._timings: dict[str, Timing] = {}
        self._failed: set[tuple[str, str]] = set()
        """Whose attempts have failed since the last one that did not: one learner may hand in what
        fails each time, and must not slow others down."""
        self._stopping = asyncio.Event()
        self._freed = asyncio.Event()

    def stop(self) -> None:
        """Take nothing more; what is being graded may end."""
        self._stopping.set()
        self._freed.set()

    async def run(self) -> None:
        """Grade until `stop` is called, then return when all is said to the database.

        Cancelled, it gives back what it has.
        """
        keeping = [asyncio.create_task(self._beat()), asyncio.create_task(self._tend())]
        try:
            while not self._stopping.is_set():
                await self._take()
            await self._drain()
        finally:
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
            await self._let_go()

    # --- taking ---

    async def _take(self) -> None:
        free = self._slots - len(self._held)
        pause = pause_seconds(len(self._failed))
        if pause:
            await self._sleep(pause)
            free = min(free, 1)  # one shows whether it works again
        if free <= 0:
            await self._until_freed()
            return
        if self._stopping.is_set():
            return
        timings, self._timings = self._timings, {}
        try:
            taken = await self._claim(free, timings)
        except StorageError:  # was told to who observes the database
            self._keep_timings(timings)
            await self._sleep(_TEND_SECONDS)
            return
        for work in taken:
            self._begin(work)  # even when told to stop meanwhile: it is drained with the others
        if not taken:
            await self._until_something()

    async def _claim(self, count: int, timings: dict[str, Timing]) -> list[Work]:
        claiming = self._store.claim(self.id, count, timings)
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            # What comes all the same would be nobody's until its lease is over.
            with contextlib.suppress(AssayError):
                late = await claiming
                await self._store.release(self.id, [each.submission for each in late])
            raise

    def _keep_timings(self, timings: dict[str, Timing]) -> None:
        for course, timing in timings.items():
            self._note(course, timing)

    def _note(self, course: str, timing: Timing) -> None:
        known = self._timings.get(course, Timing(gradings=0, seconds=0.0))
        self._timings[course] = Timing(
            gradings=known.gradings + timing.gradings, seconds=known.seconds + timing.seconds
        )

    async def _until_something(self) -> None:
        waiting = asyncio.create_task(self._submissions.wait_for_work(SECONDS_BETWEEN_LOOKS))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([waiting, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            stopping.cancel()
            await asyncio.gather(waiting, stopping, return_exceptions=True)

    async def _until_freed(self) -> None:
        self._freed.clear()
        if len(self._held) >= self._slots and not self._stopping.is_set():
            await self._freed.wait()

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    # --- grading ---

    def _begin(self, work: Work) -> None:
        task = asyncio.create_task(self._perform(work))
        self._held[work.submission.id] = (work.submission, task)
        task.add_done_callback(lambda _: self._end(work.submission))

    def _end(self, submission: Submission) -> None:
        held = self._held.get(submission.id)
        if held is not None and held[0].claim == submission.claim:
            del self._held[submission.id]
        self._freed.set()

    async def _perform(self, work: Work) -> None:
        started = time.monotonic()
        try:
            outcome: KeptResult | _Failure = await self._grade(work)
        except Exception as error:
            outcome = _Failure(error=error)
        seconds, graded_at = time.monotonic() - started, self._store.clock()
        if isinstance(outcome, _Failure):
            whose = work.submission.owner, work.submission.learner or work.submission.id
            self._failed.add(whose)
            await self._fail(work.submission, outcome.error)
        else:
            self._failed.clear()
            await self._finish(work.submission, outcome, seconds, graded_at)

    async def _finish(
        self, submission: Submission, result: KeptResult, seconds: float, graded_at: float
    ) -> None:
        ending = Ending(
            holder=self.id, submission=submission, result=result, seconds=seconds,
            graded_at=graded_at,
        )  # fmt: skip
        counts = await self._insist(lambda: self._store.finish(ending))
        if not counts:
            self._on_event(events.ClaimLost(submission=submission.id))
            return
        response = max(self._store.clock() - graded_at, 0.0)
        self._store.note(Measured(id=submission.id, response_seconds=response))
        self._note(submission.course, Timing(gradings=1, seconds=seconds))
        waited = (submission.claimed_at or submission.submitted_at) - submission.submitted_at
        self._on_event(
            events.Graded(
                submission=submission.id,
                course=submission.course,
                task=submission.task,
                regrade=submission.original is not None,
                waited_seconds=max(waited, 0.0),
                seconds=seconds,
            )
        )

    async def _fail(self, submission: Submission, error: Exception) -> None:
        fate = after_failure(error, attempts=submission.attempts, spread=random.random())
        if isinstance(fate, Again):
            after = fate.after_seconds
            counts = await self._insist(lambda: self._store.delay(self.id, submission, after))
            told: events.Event = events.GradingFailed(
                submission=submission.id,
                course=submission.course,
                task=submission.task,
                regrade=submission.original is not None,
                attempts=submission.attempts,
                reason=reason_of(error),
                again_after_seconds=after,
            )
        else:
            reason = fate.reason
            ending = Ending(
                holder=self.id,
                submission=submission,
                result=error_result(reason),
                seconds=0.0,
                state=State.FAILED,
            )
            counts = await self._insist(lambda: self._store.finish(ending))
            told = events.GradingGivenUp(
                submission=submission.id,
                course=submission.course,
                task=submission.task,
                regrade=submission.original is not None,
                attempts=submission.attempts,
                reason=reason,
            )
        self._on_event(told if counts else events.ClaimLost(submission=submission.id))

    async def _insist(self, say: Callable[[], Awaitable[bool]]) -> bool:
        """Say it until the database has it: what was graded is not to be graded again.

        False: the submission is not ours any more.
        """
        wait = SECONDS_BETWEEN_LOOKS
        while True:
            try:
                return await say()
            except (StorageError, Busy):
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)

    # --- living ---

    async def _beat(self) -> None:
        while True:
            held = {name: each.claim for name, (each, _) in self._held.items()}
            with contextlib.suppress(StorageError):
                for name in await self._store.beat(self.id, self._slots, held):
                    self._lose(name, held[name])
            await asyncio.sleep(BEAT_SECONDS)

    def _lose(self, name: str, claim: int) -> None:
        """It was cancelled, or somebody else has it: to go on would only cost."""
        found = self._held.get(name)
        if found is None or found[0].claim != claim or found[1].done():
            return  # it ended meanwhile
        found[1].cancel()
        self._on_event(events.ClaimLost(submission=name))

    async def _tend(self) -> None:
        while True:
            with contextlib.suppress(StorageError):
                tended = await self._store.tend()
                self._tell_of_lost(tended.lost, {each.id for each in tended.given_up})
            await asyncio.sleep(_TEND_SECONDS)

    def _tell_of_lost(self, lost: tuple[Submission, ...], given_up: set[str]) -> None:
        if lost:
            self._on_event(events.WorkerLost(submissions=len(lost)))
        for each in lost:
            if each.id in given_up:
                self._on_event(
                    events.GradingGivenUp(
                        submission=each.id,
                        course=each.course,
                        task=each.task,
                        regrade=each.original is not None,
                        attempts=each.attempts,
                        reason="its workers ended",
                    )
                )

    # --- ending ---

    async def _drain(self) -> None:
        tasks = [task for _, task in self._held.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=self._drain_seconds)

    async def _let_go(self) -> None:
        left = list(self._held.values())
        for _, task in left:
            task.cancel()
        await asyncio.gather(*(task for _, task in left), return_exceptions=True)
        with contextlib.suppress(StorageError):  # then leases end by themselves
            if left:
                await self._store.release(self.id, [each for each, _ in left])
            await self._store.leave(self.id)
