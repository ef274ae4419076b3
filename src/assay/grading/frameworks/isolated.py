"""Unit tests in a grading sandbox, the learner's modules in student sandboxes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import PurePosixPath
from typing import Final

from assay.agent.entries import Entry
from assay.agent.files import put_files
from assay.domain.command import Command
from assay.domain.errors import GradingLost
from assay.domain.limits import MIB, ExecutionLimits
from assay.environments.plan import command_in
from assay.environments.served import Blueprint
from assay.grading.attempt import Attempt
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
_PLAN: Final = ".assay/plan.json"
_MAIN: Final = "import sys\nfrom assay_inside.{module} import main\n\nsys.exit(main())\n"
_NOT_TOLD: Final = ("solution/", "template/", "task.toml")
_FOR_STUDENTS: Final = ("__init__.py", "values.py", "student.py")


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
    async with asyncio.TaskGroup() as group:
        students = _Students(part, attempt, blueprint, group)
        try:
            async with attempt.place(part.environment) as place:
                folder = place.blueprint.root.working_folder
                await put_files(place.session.agent, folder, _for_grading(part, attempt))
                command = _command(place.blueprint, f".assay/assay_{part.framework}.py", _PLAN)
                command = replace(command, stdin=True, last=True)
                with attempt.watch.runs():
                    execution = await place.session.start(command)
                    try:
                        relay = Relay(execution, students.next)
                        await relay.serve()
                        _, outcome = await place.session.conclude(execution, command)
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
        self._entries = _for_students(attempt)
        self._command = _learners(attempt, blueprint)
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


def _command(blueprint: Blueprint, *arguments: str, limits: ExecutionLimits = LIMITS) -> Command:
    return command_in(
        blueprint.root,
        (_python(blueprint), *arguments),
        variables=blueprint.variables(),
        limits=limits,
    )


def _python(blueprint: Blueprint) -> str:
    own = "" if blueprint.folder is None else blueprint.folder.run.argv[0]
    return own if PurePosixPath(own).name.startswith("python3") else "python3"


def _learners(attempt: Attempt, blueprint: Blueprint) -> Command:
    limits = replace(blueprint.environment.execution, output_bytes=4 * OUTPUT_MOST)
    limits = attempt.limits(limits, of="tests")
    return _command(blueprint, ".assay/assay_student.py", limits=limits)


def _for_grading(part: UnitTests, attempt: Attempt) -> Sequence[Entry]:
    """The task's folder, the modules that carry tests, and a plan."""
    bundle, task = attempt.bundle, attempt.task
    own = {name: each for name, each in bundle.files.items() if not name.startswith(_NOT_TOLD)}
    plan = {
        "tests": part.tests,
        "modules": [
            _module(name) for name in (*task.files, *task.optional) if name.endswith(".py")
        ],
        "objects": part.objects,
        "fresh": part.fresh,
        "call_seconds": part.call_seconds,
    }
    files = {
        **task.given,
        **own,
        **_inside(),
        f".assay/assay_{part.framework}.py": _MAIN.format(module=f"run_{part.framework}").encode(),
        _PLAN: json.dumps(plan).encode(),
    }
    return entries_of(files, bundle.executable)


def _for_students(attempt: Attempt) -> Sequence[Entry]:
    inside = {name: each for name, each in _inside().items() if name.endswith(_FOR_STUDENTS)}
    main = {".assay/assay_student.py": _MAIN.format(module="student").encode()}
    return entries_of({**attempt.task.given, **attempt.submission.files, **inside, **main})


def _inside() -> dict[str, bytes]:
    folder = resources.files("assay.grading.frameworks.inside")
    return {
        f".assay/assay_inside/{each.name}": each.read_bytes()
        for each in folder.iterdir()
        if each.name.endswith(".py")
    }


def _module(file: str) -> str:
    name = file.removesuffix(".py").replace("/", ".")
    return name.removesuffix(".__init__")
