"""The part of a server that grades: courses, the queue, a worker, and sandboxes of its pool."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from assay.bootstrap.process import beside
from assay.bootstrap.seats import Division
from assay.config.server import ServerSettings
from assay.grading.courses import Courses
from assay.grading.desk import Desk
from assay.grading.inginious import Environments
from assay.grading.kinds import Kinds
from assay.grading.offered import OfferedCourse
from assay.grading.submissions import Submissions
from assay.grading.versions import Versions
from assay.grading.webhooks.names import Names
from assay.grading.webhooks.post import Posting
from assay.grading.webhooks.sender import Sender
from assay.grading.worker import Worker

_log: Final = logging.getLogger("assay")
_TOLD: Final = 20
"""Remarks on a course in the log, at most."""
_NAMED: Final = 3
"""Tasks that are named of those that one is about."""


class Grading:
    """What a server has of it: the desk, and a worker if it grades itself."""

    def __init__(self, desk: Desk | None = None, worker: Worker | None = None) -> None:
        self.desk = desk
        self._worker = worker
        self._running = None if worker is None else asyncio.create_task(worker.run())

    async def drain(self) -> None:
        """Take nothing more to grade, and wait for what is being graded."""
        if self._worker is not None and self._running is not None:
            self._worker.stop()
            await asyncio.wait((self._running,))


@asynccontextmanager
async def grading(
    settings: ServerSettings,
    division: Division,
    *,
    offered: Collection[str],
    kept: Path,
    on_event: Callable[[object], None],
) -> AsyncIterator[Grading]:
    """Grade during the block what is handed in; nothing where there are no courses.

    `offered`: names of environments. In the folder `kept` are the versions of tasks that anything
    was handed in for. Call `drain` while there are still sandboxes to be had.
    """
    if not settings.courses:
        yield Grading()
        return
    processors = len(os.sched_getaffinity(0))
    kinds = Kinds(environments=Environments(table=settings.base.inginious))
    courses = Courses(settings.courses, Versions(kept / "tasks"), kinds)
    await courses.load()
    _warn(courses, set(offered))
    async with AsyncExitStack() as opened:
        submissions = await Submissions.open(settings.database, on_event=on_event)
        opened.push_async_callback(submissions.aclose)
        if settings.advertise is None:  # alone: whoever had something to grade is gone
            await submissions.store.recover()
        for course in courses.all():
            await submissions.set_weight(course.id, course.share)
        opened.push_async_callback(division.places.aclose)
        desk = Desk(
            courses, submissions, division.places, parallel=processors, seats=division.seats
        )
        await opened.enter_async_context(beside(courses.follow()))
        if settings.keep_submissions_days is not None:
            seconds = settings.keep_submissions_days * 86_400.0
            await opened.enter_async_context(beside(submissions.forget_old(seconds, on_event)))
        sender = Sender(submissions, Posting(Names()), allowed=settings.webhook_networks)
        await opened.enter_async_context(beside(sender.run()))
        slots = processors if settings.graders is None else settings.graders
        worker = Worker(
            submissions, desk.grade, slots=slots, on_event=on_event,
            drain_seconds=settings.drain_seconds,
        )  # fmt: skip
        made = Grading(desk, worker if slots else None)
        opened.push_async_callback(made.drain)
        yield made


def _remarks(course: OfferedCourse) -> dict[str, str]:
    """What is said of a course, and of its tasks once for all of whom it is said, with which."""
    found: dict[str, list[str]] = {}
    for task in course.tasks:
        for remark in task.remarks:
            found.setdefault(remark, []).append(task.id)
    few = {
        remark: ", " + ", ".join(names[:_NAMED]) + (" …" if len(names) > _NAMED else "")
        for remark, names in found.items()
    }
    return {**dict.fromkeys(course.remarks, ""), **few}


def _tell(course: OfferedCourse) -> None:
    """The first remarks: a course of a hundred tasks may have many; teachers get them all."""
    remarks = _remarks(course)
    for remark, tasks in itertools.islice(remarks.items(), _TOLD):
        _log.warning("the course %s%s: %s", course.id, tasks, remark)
    if len(remarks) > _TOLD:
        _log.warning(
            "the course %s has %d more remarks: `assay task check` says them all, and so do the"
            " course and its tasks to a teacher's token", course.id, len(remarks) - _TOLD,
        )  # fmt: skip


def _warn(courses: Courses, offered: set[str]) -> None:
    """What an operator would otherwise hear of when somebody has handed in."""
    for course in courses.all():
        for problem in course.broken:
            _log.warning("of the course %s something is left out: %s", course.id, problem.message)
        _tell(course)
        lacking = {task.environment: task.id for task in course.tasks if task.environment}
        for environment in sorted(lacking.keys() - offered):
            _log.warning(
                "the course %s wants the environment %r, such as for its task %s, and this server"
                " does not offer it: add --environment %s=1",
                course.id, environment, lacking[environment], environment,
            )  # fmt: skip
