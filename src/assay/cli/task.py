"""`assay task`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from assay.bootstrap import Catalogue
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import run_watched
from assay.cli.progress import shown_progress
from assay.cli.recorded import Case, CaseProgress, cases_in, run_cases
from assay.cli.show import bad, console, good, print_json, table
from assay.domain.errors import InvalidInput
from assay.grading.inginious import Environments


@click.group(
    epilog="""\b
Examples:
  assay task test ./course                   every recorded submission of a course of INGInious
  assay task test ./course/strcpy --json
  assay task test ./course --environment cpp=c --environment java8=java
"""
)
def task() -> None:
    """Tasks: what learners are to do, and what grades it. docs/inginious.md."""


@task.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@click.option(
    "--environment", "named", multiple=True, metavar="CONTAINER=ENV",
    help="What stands for a container of INGInious; * for all others. May be repeated.",
)  # fmt: skip
@click.option("--texts", is_flag=True, help="The words of the whole must be the same, too.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.pass_obj
def test(
    flags: Flags,
    *,
    folder: Path,
    driver: str | None,
    named: tuple[str, ...],
    texts: bool,
    as_json: bool,
) -> int:
    """Grade the recorded submissions of the tasks in FOLDER: all must be as they were.

    FOLDER is a task of INGInious (it has a task.yaml), a course, or holds courses. Recorded
    submissions are the files test/*.test of a task. No server is needed.
    """
    settings = flags.settings_for_sandboxes(driver=driver)
    environments = Environments(table={**settings.inginious, **_table(named)})
    cases = cases_in(folder)
    catalogue = Catalogue(settings)
    with shown_progress(quiet=as_json) as on_progress:
        for name in dict.fromkeys(environments(each.container) for each in cases if each.container):
            catalogue.ready(catalogue.named(name), on_progress=on_progress)
    with CaseProgress(len(cases), quiet=as_json) as progress:
        run_watched(lambda: run_cases(settings, catalogue, environments, cases, progress.show))
    failed = [each for each in cases if not each.passed(texts=texts)]
    if as_json:
        shown = [_as_data(each, texts=texts) for each in cases]
        print_json({"passed": not failed and bool(cases), "cases": shown})
    else:
        _show(cases, texts=texts)
    return Status.FAILED if failed or not cases else 0


def _table(named: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in named]
    for container, _, environment in pairs:
        if not container or not environment:
            raise InvalidInput(f"--environment {container}: this must be CONTAINER=ENV")
    return {container: environment for container, _, environment in pairs}


def _as_data(case: Case, *, texts: bool) -> dict[str, Any]:
    graded = case.graded
    return {
        "task": case.task,
        "case": case.name,
        "passed": case.passed(texts=texts),
        "problem": case.problem,
        "result": None if graded is None else graded.result,
        "grade": None if graded is None else graded.grade,
        "detail": "" if graded is None else graded.detail,
        "seconds": round(case.seconds, 4),
        "remarks": [] if graded is None else list(graded.remarks),
        "differences": [
            {"what": each.what, "was": each.was, "now": each.now, "counts": each.counts or texts}
            for each in case.differences
        ],
    }


def _show(cases: list[Case], *, texts: bool) -> None:
    out = console()
    if not cases:
        out.print(bad("There is no recorded submission (test/*.test of a task) in this folder."))
        return
    shown = table("task", "case", "result", "grade", "ms", "as it was")
    for case in cases:
        graded = case.graded
        grade = "" if graded is None or graded.grade is None else f"{graded.grade:.2f}"
        shown.add_row(
            case.task, case.name, "" if graded is None else graded.result, grade,
            f"{case.seconds * 1000:.0f}", good("yes") if case.passed(texts=texts) else bad("no"),
        )  # fmt: skip
    out.print(shown)
    for case in cases:
        if case.problem:
            out.print(bad(f"{case.task}/{case.name}: {case.problem}"), soft_wrap=True)
        for each in case.differences:
            if each.counts or texts:
                line = f"{case.task}/{case.name}: {each.what} was {each.was!r}, is {each.now!r}"
                out.print(line, soft_wrap=True, markup=False)
    passed = sum(each.passed(texts=texts) for each in cases)
    out.print(f"{passed} of {len(cases)} as they were")
