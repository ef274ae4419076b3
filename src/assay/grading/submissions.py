"""The queue of submissions, as whoever hands in, asks or grades sees it: docs/queue.md.

All decisions are those of `assay.grading.queue`; all that is remembered is in the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Sequence
from typing import Final

from assay.domain.errors import InvalidInput, NotFound, StorageError
from assay.domain.submission import (
    MOST_CONTENT_BYTES,
    MOST_LETTERS,
    Counts,
    KeptResult,
    NewSubmission,
    Receipt,
    Submission,
)
from assay.grading.events import Forgotten
from assay.grading.followers import Followers
from assay.grading.marks import counted
from assay.grading.queue import lease, order, retry
from assay.grading.queue.outlook import Outlook, outlook
from assay.grading.results import Result, Verdict, kept
from assay.storage.events import Event
from assay.storage.submissions.decisions import Decisions
from assay.storage.submissions.store import SubmissionStore

SECONDS_BETWEEN_LOOKS: Final = 0.25
"""For what nobody tells of: what another process put into an SQLite file."""
SECONDS_BETWEEN_PURGES: Final = 3600.0
PURGE_PAUSE_SECONDS: Final = 0.2
_HEAVIEST: Final = 1000.0


class Submissions:
    """Make one by `await Submissions.open(url)`."""

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self._store: SubmissionStore
        self._followers = Followers(lambda names: self._store.ended(names))

    @classmethod
    async def open(
        cls, url: str, *, on_event: Callable[[Event], None] | None = None
    ) -> Submissions:
        """Open what belongs to the server's database at `url`, and make what is missing there.

        Raises StorageError with the remedy.
        """
        made = cls()
        made._store = await SubmissionStore.open(
            url, decisions(), on_event=on_event, on_notice=made._told
        )
        return made

    async def aclose(self) -> None:
        """Commit what waits, and close the database."""
        await self._store.aclose()

    @property
    def store(self) -> SubmissionStore:
        """For workers: what is said to the database."""
        return self._store

    # --- who hands in ---

    async def submit(self, new: NewSubmission) -> Receipt:
        """Keep it for good, and only then return.

        Raises InvalidInput, Busy (too much at once), StorageError.
        """
        require_sensible(new)
        return await self._store.add(new)

    async def cancel(self, name: str) -> bool:
        """End it, whether it waits or is being graded; False: it was over. Raises NotFound."""
        cancelled = await self._store.cancel(name)
        if not cancelled:
            await self.get(name)
        return cancelled

    async def set_weight(self, course: str, weight: float) -> None:
        """Give a course so many times the share of others, which have 1. Raises InvalidInput."""
        require_name("course", course)
        if not (math.isfinite(weight) and 1 / _HEAVIEST <= weight <= _HEAVIEST):
            raise InvalidInput(
                f"a course's weight is from {1 / _HEAVIEST:g} to {_HEAVIEST:g}, not {weight:g}"
            )
        await self._store.weigh(course, weight)

    async def purge(self, before: float) -> int:
        """Remove what was over before then, in seconds since 1970; how many submissions.

        In small steps, between which others have the database. What belongs to an open campaign
        stays.
        """
        removed = 0
        while some := await self._store.purge(before):
            removed += some
            await asyncio.sleep(PURGE_PAUSE_SECONDS)
        return removed

    async def forget_old(self, seconds: float, on_event: Callable[[Forgotten], None]) -> None:
        """Remove what was over so long ago, now and once an hour, until cancelled."""
        while True:
            with contextlib.suppress(StorageError):  # it was told to who observes the database
                removed = await self.purge(self._store.clock() - seconds)
                if removed:
                    on_event(Forgotten(submissions=removed))
            await asyncio.sleep(SECONDS_BETWEEN_PURGES)

    # --- who asks ---

    async def get(self, name: str) -> Submission:
        """What is known of it. Raises NotFound."""
        found = await self._store.get(name)
        if found is None:
            raise NotFound(f"there is no submission {name}")
        return found

    async def content(self, name: str) -> bytes:
        """What was handed in. Raises NotFound."""
        found = await self._store.content(name)
        if found is None:
            raise NotFound(f"there is no submission {name}")
        return found

    async def result(self, name: str) -> bytes | None:
        """A Result as JSON, without its archive; None: there is none yet, or never will be."""
        return await self._store.result(name)

    async def archive(self, name: str, revision: int) -> bytes:
        """What its grader has kept, a tar compressed with gzip. Raises NotFound."""
        found = await self._store.archive(name, revision)
        if found is None:
            raise NotFound(f"there is no archive of the submission {name}")
        return found

    async def page(
        self,
        *,
        owner: str | None = None,
        or_courses: Sequence[str] = (),
        course: str | None = None,
        task: str | None = None,
        learner: str | None = None,
        before: str | None = None,
        most: int = 100,
    ) -> list[Submission]:
        """The newest first; `before` is the last id of the page before. At most 1,000.

        `or_courses`: those of anybody in these courses, besides the owner's own.
        """
        return await self._store.page(
            owner=owner, or_courses=or_courses, course=course, task=task, learner=learner,
            before=before, most=most,
        )  # fmt: skip

    async def counts(self) -> Counts:
        """How full the queue is."""
        return await self._store.counts()

    async def outlook(self, name: str) -> Outlook | None:
        """How long it will wait; None: it waits in no line (any more, or until a retry).

        Raises NotFound.
        """
        found = await self._store.situation(name)
        if found is None:
            return None
        return outlook(
            found.mine,
            found.before,
            found.lines,
            leased=found.counts.leased,
            slots=found.counts.slots,
        )

    async def wait_until_over(
        self, name: str, timeout: float, *, goes_on: Callable[[], bool] = lambda: True
    ) -> Submission:
        """Return it when it is over, or as it is after so many seconds, or once nothing goes on.

        Raises NotFound.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        with self._followers.follow(name) as told:
            found = await self.get(name)
            while not found.state.is_over:
                left = deadline - loop.time()
                if left <= 0 or not goes_on():
                    return await self.get(name)
                if await _is_set_within(told, min(left, 1.0)):
                    told.clear()
                    found = await self.get(name)
            return found

    # --- who grades ---

    async def wait_for_work(self, timeout: float) -> None:
        """Return when something may wait, at the latest after so many seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._ready.wait()
        except TimeoutError:
            return
        self._ready.clear()

    def _told(self, name: str) -> None:
        if not name:
            self._ready.set()
            return
        self._followers.tell(name)


async def _is_set_within(told: asyncio.Event, seconds: float) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            return await told.wait()
    return False


def decisions() -> Decisions:
    """What the store is to ask; it remembers the clock's steadiness, so each store has its own."""
    watch = _Watch()
    return Decisions(
        admit=order.admit,
        choose=order.choose,
        join=order.joined,
        learn=order.learn,
        used=counted,
        abandon=_abandon,
        watch=watch,
        lease_seconds=lease.LEASE_SECONDS,
        longest_delay_seconds=retry.LONGEST_SECONDS * (1 + retry.SPREAD),
    )


class _Watch:
    """Remembers what the last look at the clocks said."""

    def __init__(self) -> None:
        self._known: lease.Steadiness | None = None

    def __call__(self, *, clock: float, monotonic: float) -> bool:
        self._known = lease.watched(self._known, clock=clock, monotonic=monotonic)
        return lease.may_expire(self._known, monotonic=monotonic)


def _abandon(submission: Submission) -> float | KeptResult:
    fate = retry.after_loss(attempts=submission.attempts, spread=random.random())
    if isinstance(fate, retry.Again):
        return fate.after_seconds
    return error_result(fate.reason)


def error_result(reason: str) -> KeptResult:
    """The result of what could not be graded: it costs the learner nothing."""
    result = Result(
        verdict=Verdict.ERROR,
        grade=None,
        message="This could not be graded, which is not your fault: it costs you no attempt.",
        detail=reason,
    )
    return kept(result)


def require_sensible(new: NewSubmission) -> None:
    """Raise InvalidInput unless it can be kept: names are short and printable, seeds fit."""
    for what in ("course", "task", "learner"):
        require_name(what, getattr(new, what))
    for what in ("owner", "environment", "task_hash", "key", "original"):
        if getattr(new, what):
            require_name(what, getattr(new, what))
    if len(new.content) > MOST_CONTENT_BYTES:
        raise InvalidInput(
            f"a submission has at most {MOST_CONTENT_BYTES} bytes, not {len(new.content)}"
        )
    if new.seed is not None and not -(2**63) <= new.seed < 2**63:
        raise InvalidInput("a seed has 64 bits")


def require_name(what: str, name: str) -> None:
    """Raise InvalidInput unless it is short and printable. `what`: of a submission's."""
    if not name.isprintable() or not 0 < len(name) <= MOST_LETTERS:
        raise InvalidInput(f"a submission's {what} has 1 to {MOST_LETTERS} printable letters")
