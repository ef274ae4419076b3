"""The part of `assay demo` about grading: tasks of the course that comes with Assay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from assay.bootstrap import Catalogue
from assay.cli.interrupts import run_watched
from assay.cli.show import bad, good, table
from assay.cli.task_places import Bench, open_bench
from assay.config import Settings
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.recorded import recorded_of, right_answers
from assay.grading.results import Result
from assay.grading.tasks import Bundle, Submission, Task, load_course, load_task
from assay.grading.tasks.course import bundled_course
from assay.grading.trials.report import full
from assay.grading.trials.submissions import reference

SHOWN: Final = (("greeting", "no-stranger"), ("leap-years", "no-centuries"))
"""Tasks, and of each a recorded submission that is not right."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """One submission, and what it is worth."""

    task: Task
    submission: str
    result: Result
    right: bool
    """Whether it is worth what it must be."""


def show_grading(settings: Settings, catalogue: Catalogue, out: Console) -> bool:
    """Grade a right and a wrong submission of some tasks; whether they are worth what they must."""
    course = load_course(bundled_course())
    out.print(f"\nGrading: {course.title}, {len(course.tasks)} tasks", style="bold")
    usable = {offer.environment.name for offer in catalogue.offers() if offer.usable}
    shown = []
    for name, wrong in SHOWN:
        task, bundle = load_task(bundled_course() / name)
        lacking = _environments(task) - usable
        if lacking:
            out.print(f"left out: {task.title}, for here is no {' and no '.join(sorted(lacking))}")
        else:
            shown.append((task, bundle, wrong))
    graded = run_watched(lambda: _grade_all(settings, shown)) if shown else []
    _print(graded, out)
    return all(each.right for each in graded)


def _environments(task: Task) -> set[str]:
    """Those that its parts are graded in."""
    random = (getattr(part, "random", None) for part in task.parts)
    return {task.environment, *(each.environment for each in random if each and each.environment)}


async def _grade_all(settings: Settings, tasks: Sequence[tuple[Task, Bundle, str]]) -> list[Graded]:
    graded = []
    async with open_bench(settings) as bench:
        for task, bundle, name in tasks:
            recorded = recorded_of(task, bundle)
            wrong = next(each for each in recorded if each.name == name)
            right = reference(task, right_answers(task, recorded))
            for said, submission, is_right in (
                ("the reference solution", right, True),
                (wrong.about or wrong.name.replace("-", " "), wrong.submission, False),
            ):
                result = await _grade(bench, task, bundle, submission)
                as_it_must = full(result) if is_right else result.grade not in (None, 100.0)
                graded.append(Graded(task=task, submission=said, result=result, right=as_it_must))
    return graded


async def _grade(bench: Bench, task: Task, bundle: Bundle, submission: Submission) -> Result:
    attempt = Attempt(
        task=task, bundle=bundle, submission=submission, places=bench.places, seed=1,
        seats=bench.seats,
    )  # fmt: skip
    return await grade(attempt)


def _print(graded: Sequence[Graded], out: Console) -> None:
    shown = table("task", "submission", "grade", "verdict", "parts", right=("grade",))
    for each in graded:
        result = each.result
        value = "–" if result.grade is None else f"{result.grade:.0f}"
        parts = ", ".join(f"{part.id} {100 * part.score:.0f} %" for part in result.parts)
        verdict = result.verdict.replace("_", " ")
        shown.add_row(
            each.task.title, each.submission, value, (good if each.right else bad)(verdict), parts
        )
    if graded:
        out.print(shown)
