"""Where learners hand in, and what workers do with that."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec

from assay.domain.errors import InvalidSubmission, NotFound
from assay.domain.submission import KeptResult, NewSubmission, Receipt, Work
from assay.domain.submission import Submission as Queued
from assay.grading.attempt import Attempt, Stopwatch
from assay.grading.brief import brief_of
from assay.grading.complete import Complete, complete
from assay.grading.courses import Courses
from assay.grading.delays import of_the_way
from assay.grading.grade import grade
from assay.grading.joint import Seats
from assay.grading.marks import late_factor
from assay.grading.places import Places
from assay.grading.references import References
from assay.grading.regrading.regrades import Regrades
from assay.grading.results import PartResult, Result, TestResult, kept
from assay.grading.submissions import Submissions
from assay.grading.tasks import Task, submission_of


class Content(msgspec.Struct, frozen=True):
    """What is kept of what was handed in."""

    files: dict[str, bytes]
    answers: dict[str, str | list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class HandedIn:
    """What somebody hands in for a learner."""

    course: str
    task: str
    learner: str
    files: Mapping[str, bytes]
    answers: Mapping[str, object]
    owner: str = ""
    key: str | None = None
    """The platform's own name for it: the same one twice is one submission."""
    received_at: float | None = None
    """When its request began to arrive, on the queue's clock."""


class Desk:
    """Takes submissions in, and grades them when a worker asks."""

    def __init__(
        self,
        courses: Courses,
        submissions: Submissions,
        places: Places,
        *,
        parallel: int,
        most_sandboxes: int,
    ) -> None:
        """`parallel`: sandboxes that one grading may have at a time; and all of them together."""
        self.courses = courses
        self.submissions = submissions
        self.regrades = Regrades(courses, submissions)
        self._places = places
        self._parallel = parallel
        self._seats = Seats(most_sandboxes)
        self._references = References()
        self._listening: defaultdict[str, set[Callable[[PartResult], object]]] = defaultdict(set)

    async def hand_in(self, new: HandedIn, *, now: float) -> Receipt:
        """Keep a submission, durably. Raises NotFound, InvalidSubmission, Busy, StorageError."""
        task, bundle = self.courses.task(new.course, new.task)
        made = submission_of(task, new.files, new.answers)
        _require_time(task, now)
        content = Content(
            files=dict(made.files),
            answers={
                name: answer if isinstance(answer, str) else list(answer)
                for name, answer in made.answers.items()
            },
        )
        await asyncio.to_thread(self.courses.keep, bundle)
        return await self.submissions.submit(
            NewSubmission(
                course=new.course, task=new.task, learner=new.learner, owner=new.owner,
                content=msgspec.msgpack.encode(content), environment=task.environment,
                task_hash=bundle.digest, seed=secrets.randbits(62), key=new.key,
                received_at=new.received_at, most_attempts=task.rules.attempts,
            )
        )  # fmt: skip

    async def result(self, name: str) -> Result | None:
        """What a submission is worth, when that is known."""
        found = await self.submissions.result(name)
        return None if found is None else msgspec.json.decode(found, type=Result)

    async def complete(self, queued: Queued) -> Complete:
        """A graded submission with all that its grading needs. Raises NotFound, GradingLost."""
        result = brief_of(await self.submissions.result(queued.id))
        if result is None or result.record is None:
            raise NotFound(f"there is no record of how {queued.id} was graded: grade it again")
        task, bundle = await asyncio.to_thread(
            self.courses.version, queued.course, queued.task, result.record.digest
        )
        content = msgspec.msgpack.decode(
            await self.submissions.content(queued.original or queued.id), type=Content
        )
        return complete(
            task.id, bundle, submission_of(task, content.files, content.answers), result.record,
            grade=result.grade, verdict=result.verdict,
        )  # fmt: skip

    async def result_of(self, submission: Queued) -> Result | None:
        """The same, with all delays of its way."""
        result = await self.result(submission.id)
        if result is None:
            return None
        return replace(result, delays=of_the_way(result.delays, submission))

    async def grade(self, work: Work) -> KeptResult:
        """Grade one for a worker. Raises what may be otherwise next time."""
        queued, watch = work.submission, Stopwatch()
        waiting = max(0.0, self.submissions.store.clock() - queued.submitted_at)
        task, bundle = await asyncio.to_thread(
            self.courses.version, queued.course, queued.task, queued.task_hash
        )
        content = msgspec.msgpack.decode(work.content, type=Content)
        submitted_at, again = queued.submitted_at, None
        if queued.original is not None:
            submitted_at = (await self.submissions.get(queued.original)).submitted_at
            again = await self.regrades.again(queued)
        attempt = Attempt(
            task=task,
            bundle=bundle,
            submission=submission_of(task, content.files, content.answers),
            places=self._places,
            seed=queued.seed or 0,
            owner=f"{queued.course}/{queued.learner}",
            seats=self._seats,
            at_once=self._parallel,
            references=self._references,
            again=again,
            watch=watch,
        )
        factor = late_factor(task.rules, datetime.fromtimestamp(submitted_at, UTC))
        if again is not None:
            factor = again.factor
        result = await grade(
            attempt,
            factor=1.0 if factor is None else factor,
            on_part=lambda part: self._tell(queued.id, part),
        )
        result = replace(result, delays=replace(result.delays, waiting=waiting))
        return await asyncio.to_thread(kept, result)

    # --- who follows ---

    def listen(self, name: str, told: Callable[[PartResult], object]) -> Callable[[], None]:
        """Hear of each part of a submission as it is graded here; call the answer to stop."""
        self._listening[name].add(told)

        def stop() -> None:
            listening = self._listening[name]
            listening.discard(told)
            if not listening:
                del self._listening[name]

        return stop

    def _tell(self, name: str, part: PartResult) -> None:
        for told in tuple(self._listening.get(name, ())):
            told(part)


def _require_time(task: Task, now: float) -> None:
    moment = datetime.fromtimestamp(now, UTC)
    if late_factor(task.rules, moment) is not None:
        return
    if task.rules.opens is not None and moment < task.rules.opens:
        raise InvalidSubmission(f"this task opens at {task.rules.opens.isoformat()}")
    last = task.rules.late[-1].until if task.rules.late else task.rules.deadline
    raise InvalidSubmission(f"this task was open until {last.isoformat() if last else 'now'}")


def for_learner(result: Result) -> Result:
    """The same without what is for teachers."""
    return replace(
        result,
        detail="",
        record=None,
        archive=None,
        parts=tuple(part_for_learner(part) for part in result.parts),
    )


def part_for_learner(part: PartResult) -> PartResult:
    """The same without what is for teachers.

    How a hidden test's program ended could tell of it, and so could what it took: a program may
    take as many MiB as a letter of its input says.
    """
    return replace(part, tests=tuple(_bare(each) if each.hidden else each for each in part.tests))


def _bare(test: TestResult) -> TestResult:
    return replace(
        test, detail="", outcome=None, wall_seconds=None, cpu_seconds=None, peak_memory_bytes=None
    )
