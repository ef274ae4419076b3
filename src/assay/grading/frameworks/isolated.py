"""Unit tests in a grading sandbox, the learner's modules in student sandboxes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from assay.agent.entries import Entry
from assay.agent.files import put_files
from assay.domain.command import Command
from assay.domain.errors import GradingLost
from assay.domain.limits import MIB, ExecutionLimits
from assay.environments.plan import command_in
from assay.environments.served import Blueprint
from assay.grading.attempt import Attempt
from assay.grading.frameworks.carriers import PLAN, carrier
from assay.grading.frameworks.relay import Relay
from assay.grading.frameworks.reports import require_whole, results
from assay.grading.frameworks.students import Student
from assay.grading.programs import OUTPUT_MOST, entries_of
from assay.grading.results import TestResult
from assay.grading.tasks.model import UnitTests

LIMITS: Final = ExecutionLimits(
    wall_seconds=600, cpu_seconds=600, output_bytes=512 * MIB, open_files=1024
)
"""Of a framework with all its tests; calls of the learner's code have their own."""
_SLACK_SECONDS: Final = 15
_NOT_TOLD: Final = ("solution/", "template/", "task.toml")


async def run_isolated(part: UnitTests, attempt: Attempt) -> list[TestResult]:
    """A result for each test. Raises TaskFault, GradingLost, and what sandboxes do."""
    try:
        async with asyncio.timeout((LIMITS.wall_seconds or 0) + _SLACK_SECONDS):
            return await _run(part, attempt)
    except TimeoutError as error:
        raise GradingLost("a sandbox was lost: it did not end its framework in time") from error
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the others were ended because of it."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


async def _run(part: UnitTests, attempt: Attempt) -> list[TestResult]:
    blueprint = await attempt.blueprint()
    # The framework's sandbox, and that of a test, and of the next one: see `Attempt.together`.
    spare = 1 if part.fresh == "test" else 0
    seats = attempt.together(part.environment, "", *("" for _ in range(spare)), spare=spare)
    async with seats, asyncio.TaskGroup() as group:
        students = _Students(part, attempt, blueprint, group)
        try:
            async with attempt.place(part.environment, beside=True) as place:
                folder = place.blueprint.root.working_folder
                await put_files(place.session.agent, folder, _for_grading(part, attempt))
                argv = carrier(part.framework).for_grading(place.blueprint)
                command = _command(place.blueprint, argv, LIMITS)
                command = replace(command, stdin=True, last=True)
                command = replace(command, limits=attempt.account.cut(command.limits))
                with attempt.watch.runs():
                    execution = await place.session.start(command)
                    try:
                        relay = Relay(execution, students.next)
                        await relay.serve()
                        facts, outcome = await place.session.conclude(execution, command)
                        attempt.account.spend(facts.cpu_ns, by_learner=False)
                    except BaseException:
                        execution.abandon()
                        raise
        finally:
            students.dismiss()
    ids = require_whole(relay.report, outcome, bytes(relay.stderr))
    return results(part, relay.report, ids)


class _Students:
    """Gives a process for each test; the sandbox of the next one is made meanwhile."""

    def __init__(
        self, part: UnitTests, attempt: Attempt, blueprint: Blueprint, group: asyncio.TaskGroup
    ) -> None:
        self._attempt = attempt
        self._entries = _for_students(part, attempt)
        self._command = _learners(part, attempt, blueprint)
        self._group = group
        self._each = part.fresh == "test"
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = 0
        self._spare: Student | None = self._make()

    def _make(self) -> Student:
        student = Student(self._attempt, self._entries, self._command)
        task = self._group.create_task(student.live())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return student

    def next(self, tests: int | None) -> Student:
        """The next one, of a framework with so many tests."""
        student, self._begun = self._spare or self._make(), self._begun + 1
        more = self._each and (tests is None or self._begun < tests)
        self._spare = self._make() if more else None
        return student

    def dismiss(self) -> None:
        """End those that are still there: nobody wants them."""
        for task in self._tasks:
            task.cancel()


def _command(blueprint: Blueprint, argv: Sequence[str], limits: ExecutionLimits) -> Command:
    return command_in(blueprint.root, tuple(argv), variables=blueprint.variables(), limits=limits)


def _learners(part: UnitTests, attempt: Attempt, blueprint: Blueprint) -> Command:
    limits = replace(blueprint.environment.execution, output_bytes=4 * OUTPUT_MOST)
    argv = carrier(part.framework).for_student(blueprint)
    return _command(blueprint, argv, attempt.task.limits.over(limits))


def _for_grading(part: UnitTests, attempt: Attempt) -> Sequence[Entry]:
    """The task's folder, the modules that carry tests, and a plan."""
    bundle, task, carries = attempt.bundle, attempt.task, carrier(part.framework)
    own = {name: each for name, each in bundle.files.items() if not name.startswith(_NOT_TOLD)}
    theirs = [name for name in (*task.files, *task.optional) if name.endswith(carries.endings)]
    plan = {
        "tests": part.tests,
        "scripts": sorted(name for name in own if name.endswith(carries.endings)),
        "modules": [carries.module(name) for name in theirs],
        "objects": part.objects,
        "fresh": part.fresh,
        "call_seconds": part.call_seconds,
    }
    files = {**task.given, **own, **carries.grading_files(), PLAN: json.dumps(plan).encode()}
    return entries_of(files, bundle.executable)


def _for_students(part: UnitTests, attempt: Attempt) -> Sequence[Entry]:
    own = carrier(part.framework).student_files()
    return entries_of({**attempt.task.given, **attempt.submission.files, **own})
