"""Where learners hand in, and what workers do with that."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from assay.domain.errors import InvalidSubmission, NotFound
from assay.domain.submission import KeptResult, NewSubmission, Receipt, Submission, Work
from assay.grading.attempt import Stopwatch
from assay.grading.brief import brief_of
from assay.grading.complete import Complete, complete
from assay.grading.courses import Courses
from assay.grading.delays import of_the_way
from assay.grading.earlier import Whose, before
from assay.grading.joint import Seats
from assay.grading.marks import late_factor
from assay.grading.offered import Before, Content, File, Given, Grading, Offered, Sandboxes
from assay.grading.references import References
from assay.grading.regrading.regrades import Regrades
from assay.grading.results import PartResult, Result, TestResult, kept, shown_parts, without_grade
from assay.grading.submissions import Submissions, require_name
from assay.grading.tasks import Rules

_LOCKS: Final = 64

Told = Callable[[PartResult, bool], object]
"""Hears of a part, and whether a learner may hear of it before there is a grade."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HandedIn:
    """What somebody hands in for a learner."""

    course: str
    task: str
    learner: str
    files: Mapping[str, File] = field(default_factory=dict)
    answers: Mapping[str, object] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """What a grader may know of the learner, such as `@lang`."""
    owner: str = ""
    key: str | None = None
    """The platform's own name for it: the same one twice is one submission."""
    received_at: float | None = None
    """When its request began to arrive, on the queue's clock."""

    @property
    def whose(self) -> Whose:
        """Among which submissions it is one."""
        return Whose(owner=self.owner, course=self.course, task=self.task, learner=self.learner)


class Desk:
    """Takes submissions in, and grades them when a worker asks."""

    def __init__(
        self,
        courses: Courses,
        submissions: Submissions,
        places: Sandboxes,
        *,
        parallel: int,
        seats: Seats,
    ) -> None:
        """`parallel`: sandboxes that one grading may have at a time; `seats`: all of them."""
        self.courses = courses
        self.submissions = submissions
        self.regrades = Regrades(courses, submissions)
        self._places = places
        self._parallel = parallel
        self._seats = seats
        self._references = References()
        # Where one submission counts for the next, two of one learner come one after the other.
        self._handing_in = [asyncio.Lock() for _ in range(_LOCKS)]
        self._listening: defaultdict[str, set[Told]] = defaultdict(set)

    async def hand_in(self, new: HandedIn, *, now: float) -> Receipt:
        """Keep a submission, durably.

        Raises NotFound, InvalidSubmission, Conflict (another one is not over), Busy, StorageError.
        """
        task = self.courses.task(new.course, new.task)
        for what, name in (("learner", new.learner), ("key", new.key)):
            if name is not None:  # before any database is asked about them
                require_name(what, name)
        content = task.accept(Given(files=new.files, answers=new.answers, inputs=new.inputs))
        _require_time(task.rules, now)
        await asyncio.to_thread(self.courses.keep, task)
        async with self._handing_in[hash(new.whose) % _LOCKS]:
            seed = await self.seed(task, new.whose)
            return await self.submissions.submit(
                NewSubmission(
                    course=new.course, task=new.task, learner=new.learner, owner=new.owner,
                    content=msgspec.msgpack.encode(content), environment=task.environment,
                    task_hash=task.bundles[0].digest, key=new.key,
                    seed=secrets.randbits(62) if seed is None else seed,
                    received_at=new.received_at, most_attempts=task.rules.attempts,
                    attempts_hours=task.rules.per_hours, alone=task.remembers,
                )
            )  # fmt: skip

    async def seed(self, task: Offered, whose: Whose) -> int | None:
        """From which everything random of somebody's next submission is made; None: any."""
        key = self.submissions.store.key("seeds")
        if not task.looks_back:
            return task.seed(key, "", Before())
        # Of one seed for all, no result of before has to be read.
        earlier = await before(self.submissions, whose) if task.renews_seed else Before()
        return task.seed(key, f"{whose.course}/{whose.task}/{whose.learner}", earlier)

    async def result(self, name: str) -> Result | None:
        """What a submission is worth, when that is known."""
        found = await self.submissions.result(name)
        return None if found is None else msgspec.json.decode(found, type=Result)

    async def complete(self, queued: Submission) -> Complete:
        """A graded submission with all that its grading needs. Raises NotFound, GradingLost."""
        result = brief_of(await self.submissions.result(queued.id))
        if result is None or result.record is None:
            raise NotFound(f"there is no record of how {queued.id} was graded: grade it again")
        task = await asyncio.to_thread(
            self.courses.version, queued.course, queued.task, result.record.digest
        )
        content = await self.submissions.content(queued.original or queued.id)
        return complete(
            task, msgspec.msgpack.decode(content, type=Content), result.record,
            learner=queued.learner, submitted_at=queued.submitted_at,
            grade=result.grade, verdict=result.verdict,
        )  # fmt: skip

    async def result_of(self, submission: Submission) -> Result | None:
        """The same, with all delays of its way."""
        result = await self.result(submission.id)
        if result is None:
            return None
        return replace(result, delays=of_the_way(result.delays, submission))

    async def grade(self, work: Work) -> KeptResult:
        """Grade one for a worker. Raises what may be otherwise next time."""
        queued, watch = work.submission, Stopwatch()
        waiting = max(0.0, self.submissions.store.clock() - queued.submitted_at)
        task = await asyncio.to_thread(
            self.courses.version, queued.course, queued.task, queued.task_hash
        )
        original, again = queued, None
        if queued.original is not None:
            original = await self.submissions.get(queued.original)
            again = await self.regrades.again(queued)
        moment = datetime.fromtimestamp(original.submitted_at, UTC)
        factor = late_factor(task.rules, moment) if again is None else again.factor
        grading = Grading(
            course=queued.course,
            learner=queued.learner,
            content=msgspec.msgpack.decode(work.content, type=Content),
            seed=queued.seed or 0,
            submitted_at=original.submitted_at,
            sandboxes=self._places,
            factor=1.0 if factor is None else factor,
            before=await self._before(task, original),
            seats=self._seats,
            few=self._seats,
            at_once=self._parallel,
            references=self._references,
            again=again,
            watch=watch,
            on_part=self._teller(queued.id),
        )
        result = await task.grade(grading)
        result = replace(result, delays=replace(result.delays, waiting=waiting))
        return await asyncio.to_thread(kept, result)

    async def _before(self, task: Offered, submission: Submission) -> Before:
        if not task.looks_back:
            return Before()
        whose = Whose(
            owner=submission.owner, course=submission.course, task=submission.task,
            learner=submission.learner,
        )  # fmt: skip
        return await before(self.submissions, whose, until=submission.id)

    # --- who follows ---

    def listen(self, name: str, told: Told) -> Callable[[], None]:
        """Hear of each part of a submission as it is graded here; call the answer to stop."""
        self._listening[name].add(told)

        def stop() -> None:
            listening = self._listening[name]
            listening.discard(told)
            if not listening:
                del self._listening[name]

        return stop

    def _teller(self, name: str) -> Callable[[PartResult], None]:
        """Tells those who follow of each part of one grading."""
        known: list[PartResult] = []

        def tell(part: PartResult) -> None:
            known.append(part)
            early = len(without_grade(known)) == len(known)
            for told in tuple(self._listening.get(name, ())):
                told(part, early)

        return tell


def _require_time(rules: Rules, now: float) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    if late_factor(rules, moment) is not None:
        return
    if rules.closed:
        raise InvalidSubmission("this task is closed: its course does not let anybody hand in")
    if rules.opens is not None and moment < rules.opens:
        raise InvalidSubmission(f"this task opens at {rules.opens.isoformat()}")
    last = rules.late[-1].until if rules.late else rules.deadline
    raise InvalidSubmission(f"this task was open until {last.isoformat() if last else 'now'}")


def for_learner(result: Result, *, visible_tags: Collection[str] = ()) -> Result:
    """The same without what is for teachers."""
    return replace(
        result,
        detail="",
        record=None,
        custom={},
        tags={name: value for name, value in result.tags.items() if name in visible_tags},
        stdout="",
        stderr="",
        state="",
        archive=None,
        parts=tuple(part_for_learner(part) for part in shown_parts(result)),
    )


def part_for_learner(part: PartResult) -> PartResult:
    """The same without what is for teachers.

    How a hidden test's program ended could tell of it, and so could what it took: a program may
    take as many MiB as a letter of its input says.
    """
    return replace(part, tests=tuple(_bare(test) for test in part.tests))


def _bare(test: TestResult) -> TestResult:
    test = replace(test, detail="")
    if not test.hidden:
        return test
    return replace(test, outcome=None, wall_seconds=None, cpu_seconds=None, peak_memory_bytes=None)
