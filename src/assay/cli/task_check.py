"""`assay task check`: try tasks before learners do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from assay.bootstrap import Catalogue
from assay.cli.check_inginious import Checked, checked, is_inginious
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import run_watched
from assay.cli.progress import shown_progress
from assay.cli.show import bad, console, good, print_json, table
from assay.cli.task_environments import environment_option, environments
from assay.cli.task_places import open_bench
from assay.config import Settings
from assay.domain.errors import InvalidTask
from assay.grading.tasks import Bundle, Task, load_course, load_task
from assay.grading.tasks.course import FILE as COURSE_FILE
from assay.grading.trials.check import Options, Watcher
from assay.grading.trials.check import check as try_task
from assay.grading.trials.findings import Finding, Severity, error
from assay.grading.trials.report import Report, Tried
from assay.images import OnProgress

_DEFAULT = Options()
EPILOG = """\b
Examples:
  assay task check sum
  assay task check courses/introduction
  assay task check --mutants 100 --score 80 sum      more thorough
  assay task check --mutants 0 sum                   only what takes no time
  assay task check --json sum
  assay task check --environment cpp=c ./inginious/course

\b
The exit status is 0 where nothing is wrong but what are warnings and notes, and else 1. What
could not be tried is wrong, too.
"""


@click.command(epilog=EPILOG)
@click.option(
    "--mutants", type=click.IntRange(0, 10_000), default=_DEFAULT.mutants, show_default=True,
    help="Small mistakes to make in the reference solution, at most.",
)  # fmt: skip
@click.option(
    "--score", type=click.FloatRange(0, 100), default=_DEFAULT.threshold, show_default=True,
    help="Percent of them that must not get full marks.",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(1, 86_400), default=_DEFAULT.seconds, show_default=True,
    help="Of each task for them; those that are not tried then count for nothing.",
)  # fmt: skip
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@environment_option
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.argument(
    "folders", metavar="TASK-OR-COURSE...", nargs=-1, required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)  # fmt: skip
@click.pass_obj
def check(
    flags: Flags,
    *,
    mutants: int,
    score: float,
    seconds: float,
    driver: str | None,
    named: tuple[str, ...],
    as_json: bool,
    folders: tuple[Path, ...],
) -> int:
    """Try tasks before learners do, in real sandboxes.

    The reference solution must have full marks, always. The template, empty files, programs that
    do nothing, never end, print for ever or print what the first case expects must not; nor most
    of the small mistakes that are made in the reference solution.

    Tasks of INGInious bring no solution: what of them is not known or not done is said, and
    whether there is a grader and an environment for it. `assay task test` grades what is recorded.
    """
    settings = flags.settings_for_sandboxes(driver=driver)
    options = Options(mutants=mutants, threshold=score, seconds=seconds)
    foreign = [folder for folder in folders if is_inginious(folder)]
    tasks, broken = loaded([folder for folder in folders if folder not in foreign])
    progress = _Progress(quiet=as_json)
    found = [read_inginious(each, settings, named) for each in foreign]
    broken += [problem for each in found for problem in each.broken]
    for problem in broken:
        progress.broken(problem)
    with shown_progress(quiet=as_json) as on_progress, progress:
        reports = progress.read(found)
        if tasks:
            reports += run_watched(
                lambda: _check_all(settings, tasks, options, progress, on_progress)
            )
    passed = not broken and all(report.passed for report in reports)
    if as_json:
        print_json({
            "passed": passed,
            "tasks": [as_data(report) for report in reports],
            "broken": [problem.message for problem in broken],
            "remarks": [remark for each in found for remark in each.remarks],
        })  # fmt: skip
    else:
        progress.conclude(reports, len(broken))
    return 0 if passed else Status.FAILED


def read_inginious(folder: Path, settings: Settings, named: tuple[str, ...]) -> Checked:
    """What is said of tasks of INGInious; a course that can't be read is one that is broken."""
    try:
        return checked(folder, environments(settings, named), Catalogue(settings))
    except InvalidTask as problem:
        return Checked(reports=(), broken=(problem,))


def loaded(folders: Sequence[Path]) -> tuple[list[tuple[Task, Bundle]], list[InvalidTask]]:
    """The tasks of all folders, courses' too, and what is wrong with those that can't be read."""
    tasks: list[tuple[Task, Bundle]] = []
    broken: list[InvalidTask] = []
    for folder in folders:
        try:
            if (folder / COURSE_FILE).is_file():
                course = load_course(folder)
                tasks += course.tasks
                broken += course.broken
            else:
                tasks.append(load_task(folder))
        except InvalidTask as problem:
            broken.append(problem)
    return tasks, broken


async def _check_all(
    settings: Settings,
    tasks: Sequence[tuple[Task, Bundle]],
    options: Options,
    progress: _Progress,
    on_progress: OnProgress,
) -> list[Report]:
    reports = []
    async with open_bench(settings, on_progress) as bench:
        for task, bundle in tasks:
            progress.task(task)
            try:
                report = await try_task(
                    task, bundle, bench.places, seats=bench.seats, workers=bench.workers,
                    options=options, watcher=progress.watcher,
                )  # fmt: skip
            except InvalidTask as problem:  # what is recorded of it
                wrong = error("invalid", problem.message, "mend it")
                report = Report(
                    task=task.id, digest=bundle.digest, environment=task.environment,
                    findings=(wrong,),
                )  # fmt: skip
            progress.report(report)
            reports.append(report)
    return reports


class _Progress(contextlib.AbstractContextManager["_Progress"]):
    """A line for each submission as it ends; on a terminal one that says what runs now."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = console()
        self._status = self._console.status("")
        self._task = ""

    @property
    def watcher(self) -> Watcher:
        return Watcher(begins=self._begins, ended=self._ended)

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def broken(self, problem: InvalidTask) -> None:
        if not self._quiet:
            self._console.print(bad(f"✗ {problem.message}"), soft_wrap=True)

    def task(self, task: Task) -> None:
        self._task = task.id
        if not self._quiet:
            self._console.print(f"\n{task.id}: {task.title}  ({task.environment})", style="bold")

    def read(self, found: Sequence[Checked]) -> list[Report]:
        """Show what was said without running anything."""
        for each in found:
            for remark in each.remarks:
                self._say(Text("· ") + remark)
            for report in each.reports:
                self._say(Text(f"\n{report.task}  ({report.environment})", style="bold"))
                self.report(report)
        return [report for each in found for report in each.reports]

    def _say(self, text: Text) -> None:
        if not self._quiet:
            self._console.print(text, soft_wrap=True)

    def _begins(self, name: str) -> None:
        if not self._quiet and self._console.is_terminal:
            self._status.update(f"{self._task}: {name}")
            self._status.start()

    def _ended(self, tried: Tried) -> None:
        if self._quiet:
            return
        grade = "–" if tried.grade is None else f"{tried.grade:.0f}"
        verdict = tried.verdict.replace("_", " ")
        line = f" {tried.name:<48.48} {verdict:<14} {grade:>4}  {tried.seconds:>6.2f} s"
        self._console.print(good("✓") if tried.right else bad("✗"), line, sep="")

    def report(self, report: Report) -> None:
        if self._quiet:
            return
        self._status.stop()
        if report.mutation is not None:
            self._console.print(f"  {said_of_mutants(report)}")
        for finding in report.findings:
            self._console.print(_mark(finding), f" {finding.message}", sep="", soft_wrap=True)
            self._console.print(f"    {finding.remedy}", style="dim", soft_wrap=True)

    def conclude(self, reports: Sequence[Report], broken: int) -> None:
        numbers = ("errors", "warnings", "notes", "mutation score", "seconds")
        shown = table("task", "environment", *numbers, "", right=numbers)
        for report in reports:
            counts = [str(_count(report, severity) or "–") for severity in Severity]
            verdict = good("can be published") if report.passed else bad("not yet")
            shown.add_row(
                report.task, report.environment, *counts, _percent(report),
                f"{report.seconds:.1f}", verdict,
            )  # fmt: skip
        self._console.print()
        self._console.print(shown)
        if broken:
            self._console.print(bad(f"{broken} could not be read"))


def said_of_mutants(report: Report) -> str:
    """What became of them, in a line."""
    mutation = report.mutation
    assert mutation is not None
    said = f"mutants: {mutation.killed} of {mutation.counted} found ({_percent(report)})"
    if mutation.uncompiled:
        said += f", {mutation.uncompiled} don't compile"
    if mutation.left:
        said += f", {mutation.left} not tried"
    return f"{said}; {mutation.made} can be made"


def _percent(report: Report) -> str:
    score = None if report.mutation is None else report.mutation.score
    return "–" if score is None else f"{100 * score:.0f} %"


def _count(report: Report, severity: Severity) -> int:
    return sum(finding.severity is severity for finding in report.findings)


_MARKS: dict[Severity, Callable[[], Text]] = {
    Severity.ERROR: lambda: bad("✗"),
    Severity.WARNING: lambda: Text("!", style="bold yellow"),
    Severity.NOTE: lambda: Text("·"),
}


def _mark(finding: Finding) -> Text:
    return _MARKS[finding.severity]()


def as_data(report: Report) -> dict[str, Any]:
    """A report as JSON has it."""
    return {
        "task": report.task,
        "digest": report.digest,
        "environment": report.environment,
        "passed": report.passed,
        "seconds": round(report.seconds, 3),
        "tried": [
            {
                "name": each.name, "verdict": each.verdict, "grade": each.grade,
                "seconds": round(each.seconds, 3), "right": each.right,
            }
            for each in report.tried
        ],
        "mutants": _mutants_as_data(report),
        "findings": [
            {
                "code": each.code, "severity": each.severity, "message": each.message,
                "remedy": each.remedy,
            }
            for each in report.findings
        ],
    }  # fmt: skip


def _mutants_as_data(report: Report) -> dict[str, Any] | None:
    mutation = report.mutation
    if mutation is None:
        return None
    return {
        "made": mutation.made,
        "killed": mutation.killed,
        "survived": [
            {"file": each.file, "line": each.line, "change": each.change}
            for each in mutation.survived
        ],
        "uncompiled": mutation.uncompiled,
        "faults": mutation.faults,
        "left": mutation.left,
        "score": mutation.score,
    }
