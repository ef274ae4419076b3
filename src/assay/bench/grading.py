"""`grading`: from a submission to its result, and what a grader's commands take.

Each submission is graded in sandboxes that are made for it: none waits.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from assay.bench.figures import Check, Distribution, Figure, Report, Unit
from assay.bench.subject import Progress, Unexpected
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.inginious import (
    Environments,
    Graded,
    InginiousTask,
    Submission,
    grade_submission,
    load_task,
)
from assay.grading.joint import Seats
from assay.grading.places import Places
from assay.grading.script import Rooms
from assay.grading.tasks import Cases, submission_of
from assay.grading.tasks import load_task as load_native

TUTORIAL: Final = Path(__file__).parent / "tutorial"
ANSWERS: Final = {
    "01_getting_started": 'print("Hello, world!")',
    "04_run_student": "print(a + b)",
}
"""Right ones, by task."""
MOST_SECONDS: Final = {"01_getting_started": 0.1, "04_run_student": 0.2}
"""That are promised, at the median."""
_ROUNDS_OF_COMMANDS: Final = 3
_COMMANDS: Final = ("feedback-grade", "feedback-msg", "getinput")
_COMMAND_SECONDS: Final = 0.003
_SUM: Final = b"import sys\nprint(sum(map(int, sys.stdin.read().split())))\n"


class Sandboxes(Rooms, Places, Protocol):
    """For graders of every kind."""


async def measure(driver: str, rooms: Sandboxes, *, repeats: int, progress: Progress) -> Report:
    """Grade each of the tasks `repeats` times, in turns."""
    tasks = {name: load_task(TUTORIAL / name) for name in ANSWERS}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for done in range(repeats + 1):
        for name, task in tasks.items():
            began = time.perf_counter()
            await _graded(rooms, task, ANSWERS[name])
            if done:  # the first of each reads from the disk
                times[name].append(time.perf_counter() - began)
        progress("submissions", done + 1, repeats + 1)
    figures = [_of_task(driver, name, samples) for name, samples in times.items()]
    figures.insert(0, await _five_cases(driver, rooms, repeats))
    return Report(
        name="grading",
        title="Gradings",
        beside="bare",
        figures=(*figures, *await _commands(driver, rooms)),
    )


async def _five_cases(driver: str, places: Places, repeats: int) -> Figure:
    """Five cases of a Python program, beside the same five runs without any sandbox, in turns."""
    task, bundle = load_native(TUTORIAL / "five_cases")
    submission = submission_of(task, {"sum.py": _SUM}, {})
    part = task.parts[0]
    assert isinstance(part, Cases)
    graded, bare = [], []
    for done in range(repeats + 1):
        began = time.perf_counter()
        attempt = Attempt(
            task=task, bundle=bundle, submission=submission, places=places, seed=1,
            seats=Seats(len(os.sched_getaffinity(0))),
        )  # fmt: skip
        result = await grade(attempt)
        if result.grade != 100:
            raise Unexpected(f"five cases gave {result.verdict}: {result.detail}")
        took = time.perf_counter() - began
        alone = await asyncio.to_thread(_bare, [case.stdin for case in part.cases])
        if done:  # the first of each reads from the disk
            graded.append(took)
            bare.append(alone)
    measured, beside = Distribution.of(graded), Distribution.of(bare)
    check = Check(
        promise="p50 ≤ 1.5 × bare + 30 ms", value=measured.median,
        limit=1.5 * beside.median + 0.03, unit=Unit.SECONDS,
    )  # fmt: skip
    return Figure(
        driver=driver, name="five cases of a Python program", unit=Unit.SECONDS,
        measured=measured, beside=beside, checks=(check,),
    )  # fmt: skip


def _bare(inputs: Sequence[bytes]) -> float:
    with tempfile.TemporaryDirectory(prefix="assay-bench-") as folder:
        program = Path(folder) / "sum.py"
        program.write_bytes(_SUM)
        began = time.perf_counter()
        for data in inputs:
            argv = ["/usr/bin/python3", str(program)]
            subprocess.run(argv, input=data, capture_output=True, check=True)
        return time.perf_counter() - began


async def _graded(rooms: Rooms, task: InginiousTask, answer: str) -> Graded:
    submission = Submission(answers={"question1": answer})
    graded = await grade_submission(rooms, task, submission, Environments())
    if graded.grade != 100:
        raise Unexpected(f"{task.id} gave {graded.result}: {graded.detail or graded.stderr}")
    return graded


def _of_task(driver: str, name: str, samples: Sequence[float]) -> Figure:
    measured, most = Distribution.of(samples), MOST_SECONDS[name]
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
