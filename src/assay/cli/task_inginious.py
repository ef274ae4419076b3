"""Recorded submissions of INGInious' tasks, graded again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from assay.cli.task_places import Bench
from assay.cli.tested import OnTested, Tested
from assay.domain.errors import AssayError
from assay.grading.inginious import (
    Environments,
    Graded,
    InginiousTask,
    Recorded,
    compare,
    grade_submission,
    load_task,
    read_recorded,
    recorded_in,
)
from assay.grading.together import each


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """How they are compared."""

    environments: Environments
    """What stands for the containers of INGInious."""
    texts: bool = False
    """Whether the words of the whole must be the same, too."""


async def test_inginious(
    folder: Path, bench: Bench, tell: OnTested, wanted: Wanted
) -> list[Tested]:
    """Every one of a task; one that can't be read says why."""
    files = recorded_in(folder)
    try:
        task = load_task(folder) if files else None
    except AssayError as error:
        return [_told(Tested(task=folder.name, name="", problems=(error.message,)), tell)]

    async def one(path: Path) -> Tested:
        assert task is not None
        return _told(await _tested(task, path, bench, wanted), tell)

    return await each(one, files, at_once=bench.workers)


def _told(tested: Tested, tell: Callable[[Tested], object]) -> Tested:
    tell(tested)
    return tested


async def _tested(task: InginiousTask, path: Path, bench: Bench, wanted: Wanted) -> Tested:
    name, began = path.parent.parent.name, time.perf_counter()
    try:
        recorded = read_recorded(path)
        async with bench.seats.take():
            graded = await grade_submission(
                bench.places, task, recorded.submission, wanted.environments
            )
    except AssayError as error:
        return Tested(task=name, name=path.stem, problems=(error.message,))
    problems = _problems(recorded, graded, wanted)
    return Tested(
        task=name,
        name=path.stem,
        problems=problems,
        verdict=graded.result,
        grade=graded.grade,
        seconds=time.perf_counter() - began,
        detail=graded.detail,
        said=graded.message.strip() if problems else "",
        remarks=tuple(graded.remarks),
    )


def _problems(recorded: Recorded, graded: Graded, wanted: Wanted) -> tuple[str, ...]:
    return tuple(
        f"{each.what} was {each.was!r}, is {each.now!r}"
        for each in compare(recorded, graded)
        if each.counts or wanted.texts
    )
