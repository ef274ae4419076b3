"""Recorded submissions of INGInious' tasks, graded again."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from assay.bootstrap import Catalogue, choose_driver, open_driver
from assay.bootstrap.rooms import DriverRooms
from assay.config import Settings
from assay.domain.errors import AssayError, InvalidInput
from assay.grading.inginious import (
    Difference,
    Environments,
    Graded,
    InginiousTask,
    Recorded,
    compare,
    grade_submission,
    load_task,
    read_recorded,
    recorded_in,
    tasks_in,
)


@dataclass(kw_only=True)
class Case:
    """One of them, and what came of it."""

    task: str
    name: str
    inginious: InginiousTask | None = None
    recorded: Recorded | None = None
    problem: str = ""
    """Why it could not be graded."""
    graded: Graded | None = None
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def container(self) -> str:
        """The name that the task has for where it is graded; "": nowhere."""
        needs_none = self.inginious is None or self.inginious.is_answered_here
        return "" if self.inginious is None or needs_none else self.inginious.environment

    def passed(self, *, texts: bool) -> bool:
        """Whether it is as it was."""
        wrong = any(each.counts or texts for each in self.differences)
        return self.graded is not None and not wrong


def cases_in(folder: Path) -> list[Case]:
    """Every one beneath a folder; one that can't be read says why. Raises InvalidInput."""
    found = []
    folders = tasks_in(folder)
    if not folders:
        raise InvalidInput(f"{folder} holds no task of INGInious: there is no task.yaml in it")
    for each in folders:
        files = recorded_in(each)
        try:
            task = load_task(each) if files else None
        except AssayError as error:
            found.append(Case(task=each.name, name="", problem=error.message))
            continue
        found += [_case(task, path) for path in files]
    return found


def _case(task: InginiousTask | None, path: Path) -> Case:
    name = path.parent.parent.name
    try:
        recorded = read_recorded(path)
    except AssayError as error:
        return Case(task=name, name=path.stem, problem=error.message)
    return Case(task=name, name=path.stem, inginious=task, recorded=recorded)


async def run_cases(
    settings: Settings,
    catalogue: Catalogue,
    environments: Environments,
    cases: list[Case],
    done: Callable[[Case], None],
) -> None:
    """Grade them, as many at a time as there are processors."""
    turns = asyncio.Semaphore(len(os.sched_getaffinity(0)))
    async with open_driver(settings, await choose_driver(settings)) as driver:
        rooms = DriverRooms(driver, catalogue)

        async def run(case: Case) -> None:
            if case.inginious is None or case.recorded is None:
                return
            async with turns:
                began = time.perf_counter()
                try:
                    submission = case.recorded.submission
                    case.graded = await grade_submission(
                        rooms, case.inginious, submission, environments
                    )
                    case.differences = compare(case.recorded, case.graded)
                except AssayError as error:
                    case.problem = error.message
                case.seconds = time.perf_counter() - began
            done(case)

        async with asyncio.TaskGroup() as group:
            for case in cases:
                group.create_task(run(case))


class CaseProgress:
    """How many are done, on standard error: one line on a terminal, else none."""

    def __init__(self, count: int, *, quiet: bool) -> None:
        self._count = count
        self._done = 0
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> CaseProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def show(self, case: Case) -> None:
        """One more is done."""
        self._done += 1
        if self._shown:
            line = f"\r\x1b[K{self._done}/{self._count} {case.task}/{case.name}"
            print(line, end="", file=sys.stderr, flush=True)
