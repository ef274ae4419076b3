"""What can be said of tasks of INGInious without running any: they bring no solution to try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from assay.bootstrap import Catalogue
from assay.domain.errors import AssayError, InvalidTask
from assay.grading.inginious import (
    Environments,
    InginiousTask,
    is_course,
    is_task,
    recorded_in,
    tasks_in,
)
from assay.grading.inginious.containers import run_command
from assay.grading.inginious.offered import ServedTask, served_course
from assay.grading.offered import Offered, OfferedCourse
from assay.grading.tasks import FILE
from assay.grading.tasks.course import FILE as COURSE_FILE
from assay.grading.trials.findings import Finding, error, note, warning
from assay.grading.trials.report import Report

_PAGE = "docs/inginious.md says what is done"


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """Of one folder."""

    reports: tuple[Report, ...]
    broken: tuple[InvalidTask, ...] = ()
    remarks: tuple[str, ...] = ()
    """What of the course is not known, or not done."""


def is_inginious(folder: Path) -> bool:
    """Whether it is a course or task of INGInious, or holds some, and is none of Assay's."""
    if any((folder / name).is_file() for name in (FILE, COURSE_FILE)):
        return False
    return is_course(folder) or is_task(folder) or bool(tasks_in(folder))


def checked(folder: Path, environments: Environments, catalogue: Catalogue) -> Checked:
    """Of a course what a server would offer of it; else of each task by itself."""
    course = served_course(folder, environments) if is_course(folder) else None
    found = _alone(tasks_in(folder), environments) if course is None else course
    return Checked(
        reports=tuple(_report(task, catalogue) for task in found.tasks),
        broken=found.broken,
        remarks=tuple(f"{found.id}: {each}" for each in found.remarks),
    )


def _alone(folders: Sequence[Path], environments: Environments) -> OfferedCourse:
    tasks: list[Offered] = []
    broken = []
    for folder in folders:
        try:
            tasks.append(ServedTask.in_folder(folder, environments))
        except InvalidTask as problem:
            broken.append(problem)
    return OfferedCourse(id="", title="", tasks=tuple(tasks), broken=tuple(broken))


def _report(task: Offered, catalogue: Catalogue) -> Report:
    assert isinstance(task, ServedTask)
    return Report(
        task=task.id,
        digest=task.bundles[0].digest,
        environment=task.environment or "–",
        findings=tuple(_findings(task, catalogue)),
    )


def _wants(task: ServedTask) -> Iterator[Finding]:
    """What an environment has only where its operator says so."""
    told = "the task is refused where its environment has none"
    remedy = f"give {task.environment} some in assay.toml, or take it out"
    if task.task.network:
        yield warning("network", f"network_grading: {told}", remedy)
    if task.task.environment_type.startswith("nvidia"):
        yield warning("devices", f"{task.task.environment_type} wants devices: {told}", remedy)


def _findings(task: ServedTask, catalogue: Catalogue) -> Iterator[Finding]:
    if task.task.is_answered_here:
        yield from _of_answers(task.task)
    else:
        yield from _of_grader(task, catalogue)
        if not recorded_in(task.task.folder):
            told = "nothing is recorded of it, so that nobody knows whether it grades as it did"
            yield note("unrecorded", told, "put a submission of INGInious' into test/NAME.test")
    yield from _wants(task)
    yield from (note("not-done", each, _PAGE) for each in task.remarks)


def _of_answers(task: InginiousTask) -> Iterator[Finding]:
    """Of a task without a grader."""
    if not task.problems:
        told = "it has no problems: there is nothing to hand in"
        yield note("no-problems", told, "link to its text, or add one")
    others = sorted({each.kind for each in task.problems if not each.is_answered_here})
    if others:
        told = f"{', '.join(others)}: only a plugin of INGInious' knows right answers, and the task"
        remedy = "take it out, or give it a grader (environment_type: docker, and a file run)"
        yield error("no-grader", f"{told} has no grader: all that is handed in is an error", remedy)


def _of_grader(task: ServedTask, catalogue: Catalogue) -> Iterator[Finding]:
    try:
        run_command(task.task, task.files.in_task, task.files.in_course)
        catalogue.named(task.environment)
    except InvalidTask as problem:
        needs_none = all(each.is_answered_here for each in task.task.problems)
        remedy = "its problems need none: environment_type: mcq" if needs_none else "add one"
        yield error("no-grader", problem.message, remedy)
    except AssayError as problem:
        container = task.task.environment
        remedy = f"--environment {container}=NAME says what stands for the container {container}"
        yield error("environment", problem.message, remedy)
