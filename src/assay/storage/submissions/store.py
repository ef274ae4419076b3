"""Every question and every write about submissions.

A write is a future that is done when it is durable, also against a loss of power. Questions go
another way, and see what was written when they were asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

from assay.domain.errors import AssayError, StorageError
from assay.domain.line import Line, Timing
from assay.domain.submission import Counts, Measured, NewSubmission, Receipt, Submission, Work
from assay.driver.port import Secret
from assay.storage.connection import Database, Step
from assay.storage.events import Event, failures_to
from assay.storage.installation import InstallationKey, derived
from assay.storage.kind import Cursor
from assay.storage.statements import Statement
from assay.storage.submissions.campaign_steps import CampaignSteps
from assay.storage.submissions.campaigns import CampaignStore
from assay.storage.submissions.decisions import Decisions
from assay.storage.submissions.measured import Measurements
from assay.storage.submissions.notices import Notices
from assay.storage.submissions.pages import Pages, Wanted
from assay.storage.submissions.places import Place, place_of
from assay.storage.submissions.results import Results
from assay.storage.submissions.rows import submission_of
from assay.storage.submissions.situations import Situation, Situations
from assay.storage.submissions.steps import Ending, Steps, Tended
from assay.storage.submissions.together import Together
from assay.storage.submissions.webhooks import Webhooks
from assay.storage.writer import PATIENCE_SECONDS, Operation, Writer

MOST_LISTED: Final = 1000

T = TypeVar("T")


class SubmissionStore:
    """Make one by `await SubmissionStore.open(url, decisions)`."""

    def __init__(
        self,
        place: Place,
        decisions: Decisions,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._place = place
        self._database, self._reader = Database(place.writing), Database(place.reading)
        self._steps = Steps(place.writing, decisions)
        self._sql = self._steps.sql
        self._pages = Pages(place.reading.engine.dialect)
        self._situations = Situations(self._sql, self.clock, decisions.lease_seconds)
        self._writing = Writer(self._database, self._loop, on_event, name="assay-submissions")
        self._reading = Writer(
            self._reader, self._loop, failures_to(on_event), name="assay-questions"
        )
        self._intake = Together(self._add, lambda new: len(new.content))
        self._endings = Together(self._finish, _bytes_of)
        self._measurements = Measurements(self._note)
        self._on_notice = on_notice or (lambda _: None)
        self.campaigns = CampaignStore(
            CampaignSteps(place.writing, self._steps.entrance, self._steps.outbox),
            write=self._write_noticed, ask=self._ask, clock=self.clock,
            kind=place.reading,
        )  # fmt: skip
        self._notices: Notices | None = None
        self._key: Secret | None = None
        self._closed = False
        self.webhooks = Webhooks(
            self._write, self._ask, self._steps.outbox, place.reading, self.clock
        )
        """Who is to be told what became of submissions, and the messages to them."""
        self.results = Results(self._ask, place.reading)
        """Submissions with what came of them, in the order of tasks and learners."""

    @classmethod
    async def open(
        cls,
        url: str,
        decisions: Decisions,
        *,
        on_event: Callable[[Event], None] | None = None,
        on_notice: Callable[[str], None] | None = None,
    ) -> SubmissionStore:
        """Open what belongs to the server's database at `url`, and make what is missing there.

        `on_notice` gets the id of a submission that is over, or "": something waits. With SQLite
        it hears only of what this store does. Raises StorageError with the remedy.
        """
        store = cls(place_of(url), decisions, on_event=on_event, on_notice=on_notice)
        await store._writing.start()
        try:
            found = InstallationKey(store._place.writing).find
            store._key = await store._write("installation", found)
            await store._reading.start()
        except BaseException:
            await store._writing.stop()
            raise
        if store._place.notices is not None and on_notice is not None:
            store._notices = Notices(store._place.notices, on_notice)
        return store

    def key(self, purpose: str) -> Secret:
        """The same one for all servers of the database, for as long as there is that."""
        assert self._key is not None  # it was opened
        return derived(self._key, purpose)

    async def aclose(self) -> None:
        """Commit what waits, and close the database."""
        if not self._closed:
            self._measurements.flush()
            self._closed = True
            if self._notices is not None:
                await self._notices.aclose()
            await self._writing.stop()
            await self._reading.stop()

    @property
    def place(self) -> str:
        """What an operator calls the database."""
        return self._database.place

    @property
    def kind(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._place.writing.engine.dialect.name

    async def durability(self) -> dict[str, str]:
        """The database's own settings on which it depends what survives a loss of power."""

        def ask(cursor: Cursor) -> dict[str, str]:
            return self._place.writing.durability(cursor)

        return await self._write("durability", ask)

    def clock(self) -> float:
        """The database's clock, in seconds since 1970."""
        return time.monotonic() + self._database.offset

    # --- who hands in ---

    def add(self, new: NewSubmission) -> asyncio.Future[Receipt]:
        """Keep what is handed in. Done: it is durable.

        Raises Busy; the future StorageError, InvalidInput for another one's key, or
        InvalidSubmission: there is no attempt left.
        """
        added = self._intake.add(new)
        if new.received_at is not None:
            received = new.received_at
            added.add_done_callback(lambda done: self._measure_sending(received, done))
        return added

    def _measure_sending(self, received_at: float, added: asyncio.Future[Receipt]) -> None:
        if added.cancelled() or added.exception() is not None or not added.result().new:
            return
        seconds = max(self.clock() - received_at, 0.0)
        self.note(Measured(id=added.result().id, sending_seconds=seconds))

    def note(self, measured: Measured) -> None:
        """Keep what was measured after a transaction, soon; `get` knows it at once."""
        if not self._closed:
            self._measurements.note(measured)

    def _note(self, all_measured: Sequence[Measured]) -> asyncio.Future[None]:
        return self._write("note", lambda cursor: self._steps.note(cursor, all_measured))

    def _add(self, news: list[NewSubmission]) -> asyncio.Future[Sequence[Receipt | AssayError]]:
        def add(cursor: Cursor) -> Sequence[Receipt | AssayError]:
            return self._steps.add(cursor, news, self.clock())

        return self._noticed(self._write("add_submissions", add), lambda _: [""])

    def cancel(self, name: str) -> asyncio.Future[bool]:
        """End it, whether it waits or is being graded; whether it was not over yet."""
        done = self._write("cancel", lambda cursor: self._steps.cancel(cursor, name, self.clock()))
        return self._noticed(done, lambda cancelled: [name] if cancelled else [])

    def weigh(self, course: str, weight: float) -> asyncio.Future[None]:
        """Give a course so many times the share of one with 1.0."""
        return self._write("weigh", lambda cursor: self._steps.weigh(cursor, course, weight))

    def purge(self, before: float) -> asyncio.Future[int]:
        """Remove some of what was over before then; how many."""
        return self._write("purge", lambda cursor: self._steps.purge(cursor, before))

    # --- workers ---

    def claim(
        self, holder: str, count: int, timings: Mapping[str, Timing]
    ) -> asyncio.Future[list[Work]]:
        """Up to so many submissions for a worker; `timings`: of courses, since it told last."""

        def claim(cursor: Cursor) -> list[Work]:
            return self._steps.claim(cursor, holder, count, self.clock(), timings)

        return self._write("claim", claim)

    def beat(self, holder: str, slots: int, held: Mapping[str, int]) -> asyncio.Future[list[str]]:
        """Say that a worker lives and has these, each by its claim; which of them it has lost."""

        def beat(cursor: Cursor) -> list[str]:
            return self._steps.beat(cursor, holder, slots, held, self.clock())

        return self._write("beat_worker", beat)

    def finish(self, ending: Ending) -> asyncio.Future[bool]:
        """Keep a result; False: the submission is not this worker's any more, and it doesn't count.

        Saying the same twice is saying it once.
        """
        return self._endings.add(ending)

    def _finish(self, endings: list[Ending]) -> asyncio.Future[Sequence[bool | AssayError]]:
        def finish(cursor: Cursor) -> Sequence[bool | AssayError]:
            return self._steps.finish(cursor, endings, self.clock())

        def over(counting: Sequence[bool | AssayError]) -> list[str]:
            pairs = zip(endings, counting, strict=True)
            return [each.submission.id for each, counts in pairs if counts]

        return self._noticed(self._write("finish", finish), over)

    def delay(self, holder: str, submission: Submission, seconds: float) -> asyncio.Future[bool]:
        """Try it again after so long; whether it was this worker's."""

        def delay(cursor: Cursor) -> bool:
            return self._steps.delay(cursor, holder, submission, seconds, self.clock())

        return self._write("delay", delay)

    def release(self, holder: str, submissions: Sequence[Submission]) -> asyncio.Future[int]:
        """Give back what a worker will not grade: whoever is next may have it at once."""

        def release(cursor: Cursor) -> int:
            return self._steps.release(cursor, holder, submissions)

        return self._noticed(self._write("release", release), lambda _: [""])

    def leave(self, holder: str) -> asyncio.Future[None]:
        """Forget a worker."""
        return self._write("leave", lambda cursor: self._steps.leave(cursor, holder))

    def tend(self) -> asyncio.Future[Tended]:
        """Take back what lost workers had, and let go on what has waited long enough."""

        def tend(cursor: Cursor) -> Tended:
            return self._steps.tend(cursor, self._database.now(cursor), time.monotonic())

        return self._noticed(self._write("tend", tend), _notices_of)

    def recover(self) -> asyncio.Future[Tended]:
        """Take back what anybody has. Only for who knows that no worker is there."""
        done = self._write("recover", lambda cursor: self._steps.recover(cursor, self.clock()))
        return self._noticed(done, _notices_of)

    # --- questions ---

    def get(self, name: str) -> asyncio.Future[Submission | None]:
        """What is known of one; None: there is none."""

        def get(cursor: Cursor) -> Submission | None:
            found = self._sql.get.rows(cursor, {"key": name})
            return submission_of(found[0]) if found else None

        found = self._ask("get_submission", get)
        return self._known_here(found)

    def _known_here(
        self, asked: asyncio.Future[Submission | None]
    ) -> asyncio.Future[Submission | None]:
        """With what was measured here since, and is not in the database yet."""
        return asyncio.ensure_future(self._with_measured(asked))

    async def _with_measured(self, asked: asyncio.Future[Submission | None]) -> Submission | None:
        found = await asked
        return None if found is None else self._measurements.of(found)

    def ended(self, names: Collection[str]) -> asyncio.Future[set[str]]:
        """Which of these are over, or not there any more."""

        def read(cursor: Cursor) -> set[str]:
            return set(names) - self._steps.going_on(cursor, sorted(names))

        return self._ask("ended", read)

    def content(self, name: str) -> asyncio.Future[bytes | None]:
        """What was handed in."""
        return self._blob(self._sql.content, name, "content")

    def result(self, name: str) -> asyncio.Future[bytes | None]:
        """What came of it, as JSON; None: nothing yet."""
        return self._blob(self._sql.result, name, "result")

    def archive(self, name: str, revision: int) -> asyncio.Future[bytes | None]:
        """What its grader has kept with its result, as that was after so many campaigns."""

        def read(cursor: Cursor) -> bytes | None:
            found = self._sql.archive.rows(cursor, {"key": name, "nth": revision})
            return bytes(found[0]["content"]) if found else None

        return self._ask("read_archive", read)

    def _blob(self, statement: Statement, name: str, column: str) -> asyncio.Future[bytes | None]:
        def read(cursor: Cursor) -> bytes | None:
            found = statement.rows(cursor, {"key": name})
            return bytes(found[0][column]) if found else None

        return self._ask(f"read_{column}", read)

    def page(
        self,
        *,
        owner: str | None = None,
        or_courses: Sequence[str] = (),
        course: str | None = None,
        task: str | None = None,
        learner: str | None = None,
        before: str | None = None,
        most: int = 100,
    ) -> asyncio.Future[list[Submission]]:
        """The newest first; `before` is the last id of the page before.

        `or_courses`: those of anybody in these courses, besides the owner's own.
        """
        wanted = Wanted(
            owner=owner, or_courses=tuple(or_courses), course=course, task=task, learner=learner,
            before=before, most=min(most, MOST_LISTED),
        )  # fmt: skip
        return self._ask("list_submissions", lambda cursor: self._pages.page(cursor, wanted))

    def counts(self) -> asyncio.Future[Counts]:
        """How full the queue is."""
        return self._ask("counts", self._situations.counts)

    def situation(self, name: str) -> asyncio.Future[Situation | None]:
        """For the outlook of one that waits; None: it doesn't, or waits to be tried again.

        Raises NotFound.
        """
        return self._ask("situation", lambda cursor: self._situations.situation(cursor, name))

    def lines(self) -> asyncio.Future[list[Line]]:
        """In which something waits."""
        return self._ask("lines", self._situations.lines)

    # --- how ---

    def _noticed(
        self, done: asyncio.Future[T], names: Callable[[T], Sequence[str]]
    ) -> asyncio.Future[T]:
        """Tell of what was done here at once; PostgreSQL tells the others."""

        def tell(future: asyncio.Future[T]) -> None:
            if not future.cancelled() and future.exception() is None:
                for name in names(future.result()):
                    self._on_notice(name)

        done.add_done_callback(tell)
        return done

    def _write_noticed(self, name: str, step: Callable[[Cursor], T]) -> asyncio.Future[T]:
        """A write after which something may wait."""
        return self._noticed(self._write(name, step), lambda _: [""])

    def _write(self, name: str, step: Callable[[Cursor], T]) -> asyncio.Future[T]:
        return self._submit(self._writing, name, step)

    def _ask(self, name: str, step: Callable[[Cursor], T]) -> asyncio.Future[T]:
        return self._submit(self._reading, name, step)

    def _submit(self, writer: Writer, name: str, step: Callable[[Cursor], T]) -> asyncio.Future[T]:
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._closed:
            future.set_exception(StorageError("the storage was closed"))
            future.exception()
        else:
            deadline = time.monotonic() + PATIENCE_SECONDS
            writer.submit(Operation(name, cast(Step, step), future, deadline))
        return future


def _bytes_of(ending: Ending) -> int:
    return len(ending.result.result) + len(ending.result.archive or b"")


def _notices_of(tended: Tended) -> list[str]:
    return [each.id for each in tended.given_up] + ([""] if tended.ready else [])
