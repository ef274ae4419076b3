"""`queue`: submissions taken in and handed out, durably, and what those that wait cost."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from assay.bench.figures import Check, Distribution, Figure, Remark, Report, Unit
from assay.bench.host import give_back_memory, own_bytes
from assay.bench.subject import Progress
from assay.domain.submission import KeptResult, NewSubmission, Priority, Work
from assay.grading.submissions import Submissions
from assay.grading.worker import Worker

SUBMITTERS: Final = 64
COURSES: Final = 20
LEARNERS: Final = 500
CONTENT: Final = b'{"answer":"' + b"x" * 1000 + b'"}'
RESULT: Final = b'{"verdict":"passed","grade":100.0,"message":"' + b"x" * 300 + b'"}'
MOST_ACKNOWLEDGEMENT_SECONDS: Final = 0.1
LEAST_A_SECOND: Final = 1000.0
MOST_BYTES_FOR_ONE: Final = 100.0
"""Of memory for each that waits: what the allocator leaves about, and nothing that is kept."""
_ALONE: Final = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How much of each."""

    submissions: int = 10_000
    """Taken in and handed out at the same time."""
    waiting: int = 100_000
    """In the queue, of nobody who is in a hurry, while as many again go through."""


@dataclass(slots=True)
class _Passed:
    """What went through."""

    acknowledged: list[float] = field(default_factory=list)
    graded: int = 0
    seconds: float = 0.0


async def measure(submissions: Submissions, name: str, *, plan: Plan, progress: Progress) -> Report:
    """Measure a queue in which nothing waits. `name` is the database's kind."""
    alone = await _one_by_one(submissions)
    empty = await _pass_through(submissions, plan.submissions, progress, "an empty queue")
    before = _memory()
    filled = await _fill(submissions, plan.waiting, progress)
    growth = (_memory() - before) / plan.waiting
    full = await _pass_through(submissions, plan.submissions, progress, "a full queue")
    waiting = (await submissions.counts()).waiting
    remarks = _remarks(await _durability(submissions), name, waiting, plan.waiting)
    crowd = f"{plan.waiting:,} waiting"
    return Report(
        name="queue",
        title=f"Submissions, of {SUBMITTERS} submitters at the same time; each is on the disk"
        " before it is acknowledged, and its result before it is over",
        beside="one alone",
        figures=(
            *_figures(name, "nothing waiting", empty, alone),
            *_figures(name, crowd, full, alone),
            _figure(name, f"taken in alone, up to {crowd}", Unit.PER_SECOND, [filled]),
            _figure(
                name, f"memory for one of {crowd}", Unit.BYTES, [growth],
                Check(promise="flat: ≤ 100 B", value=growth, limit=MOST_BYTES_FOR_ONE,
                      unit=Unit.BYTES),
            ),
        ),
        remarks=remarks,
    )  # fmt: skip


def _figures(name: str, when: str, passed: _Passed, alone: Distribution) -> Iterator[Figure]:
    rate = passed.graded / passed.seconds
    taken = Distribution.of(passed.acknowledged)
    yield _figure(
        name, f"in and out, {when}", Unit.PER_SECOND, [rate],
        Check(promise="≥ 1,000 /s", value=rate, limit=LEAST_A_SECOND, unit=Unit.PER_SECOND,
              at_least=True),
    )  # fmt: skip
    yield Figure(
        driver=name,
        name=f"acknowledgement, {when}",
        unit=Unit.SECONDS,
        measured=taken,
        beside=alone,
        checks=(
            Check(promise="p99 < 100 ms", value=taken.percentile(99),
                  limit=MOST_ACKNOWLEDGEMENT_SECONDS, unit=Unit.SECONDS),
        ),
    )  # fmt: skip


def _figure(name: str, what: str, unit: Unit, samples: Sequence[float], *checks: Check) -> Figure:
    return Figure(
        driver=name, name=what, unit=unit, measured=Distribution.of(samples), checks=checks
    )


async def _one_by_one(submissions: Submissions) -> Distribution:
    """What an acknowledgement takes when nobody else is there: a commit, more or less."""
    samples = []
    for number in range(_ALONE):
        started = time.perf_counter()
        receipt = await submissions.submit(_new(number))
        samples.append(time.perf_counter() - started)
        await submissions.cancel(receipt.id)
    return Distribution.of(samples)


async def _pass_through(
    submissions: Submissions, count: int, progress: Progress, what: str
) -> _Passed:
    """Hand in so many, while a worker takes them out and keeps a result of each."""
    passed = _Passed()
    done = asyncio.Event()

    async def grade(work: Work) -> KeptResult:
        return KeptResult(result=RESULT, verdict="passed", grade=100.0)

    def note(event: object) -> None:
        passed.graded += 1
        if passed.graded % 1000 == 0:
            progress(f"in and out, {what}", passed.graded, count)
        if passed.graded >= count:
            done.set()
            worker.stop()

    worker = Worker(submissions, grade, slots=SUBMITTERS, on_event=note)
    running = asyncio.create_task(worker.run())
    started = time.perf_counter()
    passed.acknowledged += await _hand_in(submissions, count, Priority.LIVE)
    await done.wait()
    passed.seconds = time.perf_counter() - started
    await running
    return passed


async def _hand_in(submissions: Submissions, count: int, priority: Priority) -> list[float]:
    """By all submitters, each one after the other; how long each acknowledgement took."""
    numbers = itertools.count()
    samples: list[float] = []

    async def submitter() -> None:
        while (number := next(numbers)) < count:
            new = _new(number, priority)
            started = time.perf_counter()
            await submissions.submit(new)
            samples.append(time.perf_counter() - started)

    await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))
    return samples


async def _fill(submissions: Submissions, count: int, progress: Progress) -> float:
    """Let so many wait that are not urgent; how many were taken in a second."""
    started = time.perf_counter()
    done = 0
    while done < count:
        some = min(10_000, count - done)
        await _hand_in(submissions, some, Priority.REGRADE)
        done += some
        progress("waiting", done, count)
    return count / (time.perf_counter() - started)


def _new(number: int, priority: Priority = Priority.LIVE) -> NewSubmission:
    return NewSubmission(
        course=f"course-{number % COURSES}",
        task="task",
        learner=f"learner-{number % LEARNERS}",
        content=CONTENT,
        priority=priority,
    )


def _memory() -> int:
    give_back_memory()
    return own_bytes()


async def _durability(submissions: Submissions) -> list[str]:
    """Why what is acknowledged may be lost all the same, if the machine loses its power."""
    settings = await submissions.store.durability()
    return [f"{name} is {value}" for name, value in settings.items() if value == "off"]


def _remarks(off: Sequence[str], name: str, waiting: int, wanted: int) -> tuple[Remark, ...]:
    remarks = [
        Remark(driver=name, what="durability", kind="not durable", reason=reason) for reason in off
    ]
    if waiting < wanted - SUBMITTERS:  # the worker takes some of them when nothing else is left
        reason = f"{waiting:,} were waiting at the end, and not {wanted:,}"
        remarks.append(Remark(driver=name, what="waiting", kind="failed", reason=reason))
    return tuple(remarks)
