"""`inginious`: from a submission to its result, and what a grader's commands take.

Each submission is graded in sandboxes that are made for it: none waits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from assay.bench.figures import Check, Distribution, Figure, Report, Unit
from assay.bench.subject import Progress, Unexpected
from assay.grading.inginious import (
    Environments,
    Graded,
    InginiousTask,
    Submission,
    grade_submission,
    load_task,
)
from assay.grading.script import Rooms

TUTORIAL: Final = Path(__file__).parent / "tutorial"
_ANSWERS: Final = {
    "01_getting_started": 'print("Hello, world!")',
    "04_run_student": "print(a + b)",
}
_MOST_SECONDS: Final = {"01_getting_started": 0.1, "04_run_student": 0.2}
_ROUNDS_OF_COMMANDS: Final = 3
_COMMANDS: Final = ("feedback-grade", "feedback-msg", "getinput")
_COMMAND_SECONDS: Final = 0.003


async def measure(driver: str, rooms: Rooms, *, repeats: int, progress: Progress) -> Report:
    """Grade each of the tasks `repeats` times, in turns."""
    tasks = {name: load_task(TUTORIAL / name) for name in _ANSWERS}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for done in range(repeats + 1):
        for name, task in tasks.items():
            began = time.perf_counter()
            await _graded(rooms, task, _ANSWERS[name])
            if done:  # the first of each reads from the disk
                times[name].append(time.perf_counter() - began)
        progress("submissions", done + 1, repeats + 1)
    figures = [_of_task(driver, name, samples) for name, samples in times.items()]
    return Report(
        name="inginious",
        title="Graders of INGInious' tasks",
        beside="true",
        figures=(*figures, *await _commands(driver, rooms)),
    )


async def _graded(rooms: Rooms, task: InginiousTask, answer: str) -> Graded:
    submission = Submission(answers={"question1": answer})
    graded = await grade_submission(rooms, task, submission, Environments())
    if graded.grade != 100:
        raise Unexpected(f"{task.id} gave {graded.result}: {graded.detail or graded.stderr}")
    return graded


def _of_task(driver: str, name: str, samples: Sequence[float]) -> Figure:
    measured, most = Distribution.of(samples), _MOST_SECONDS[name]
    check = Check(
        promise=f"p50 ≤ {most * 1000:g} ms", value=measured.median, limit=most, unit=Unit.SECONDS
    )
    return Figure(
        driver=driver, name=f"{name}, submission to result", unit=Unit.SECONDS,
        measured=measured, checks=(check,),
    )  # fmt: skip


async def _commands(driver: str, rooms: Rooms) -> list[Figure]:
    task = load_task(TUTORIAL / "commands")
    rounds = [(await _graded(rooms, task, "text")).custom for _ in range(_ROUNDS_OF_COMMANDS)]
    beside = _samples(rounds, "true")
    figures = []
    for name in _COMMANDS:
        measured = _samples(rounds, name)
        check = Check(
            promise=f"p50 ≤ {_COMMAND_SECONDS * 1000:g} ms", value=measured.median,
            limit=_COMMAND_SECONDS, unit=Unit.SECONDS,
        )  # fmt: skip
        figures.append(
            Figure(
                driver=driver, name=f"{name}, from a shell", unit=Unit.SECONDS,
                measured=measured, beside=beside, checks=(check,),
            )
        )  # fmt: skip
    return figures


def _samples(rounds: Sequence[Mapping[str, object]], name: str) -> Distribution:
    found: list[float] = []
    for custom in rounds:
        times = custom[name]
        assert isinstance(times, list)
        found += [micros / 1e6 for micros in times]
    return Distribution.of(found)
