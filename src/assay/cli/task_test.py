"""`assay task test`: grade what is recorded beside a task, and compare."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import run_watched
from assay.cli.progress import shown_progress
from assay.cli.show import bad, console, good, print_json
from assay.cli.task_environments import environment_option, environments
from assay.cli.task_inginious import Wanted, test_inginious
from assay.cli.task_junit import junit
from assay.cli.task_places import Bench, open_bench
from assay.cli.tested import OnTested, Tested, as_data, said_now
from assay.cli.whole_file import require_writable, whole_file
from assay.config import Settings
from assay.domain.errors import InvalidTask
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.inginious import tasks_in
from assay.grading.recorded import Recorded, differences, recorded_of
from assay.grading.tasks import FILE, load_task
from assay.grading.tasks.course import FILE as COURSE_FILE
from assay.grading.tasks.course import load_course
from assay.grading.together import each
from assay.images import OnProgress

EPILOG = """\b
Examples:
  assay task test sum
  assay task test courses/introduction
  assay task test --junit report.xml sum
  assay task test --environment cpp=c --environment java8=java ./inginious/course

\b
The exit status is 0 where every recorded submission is worth what was recorded.
"""


@click.command(epilog=EPILOG)
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@environment_option
@click.option("--texts", is_flag=True, help="The words of INGInious' tasks must be the same, too.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option(
    "--junit", "report", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
    help="Write a report there, as XML of JUnit's form.",
)  # fmt: skip
@click.argument(
    "folders", metavar="TASK-OR-COURSE...", nargs=-1, required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)  # fmt: skip
@click.pass_obj
def test(
    flags: Flags, *, driver: str | None, named: tuple[str, ...], texts: bool, as_json: bool,
    report: Path | None, folders: tuple[Path, ...],
) -> int:  # fmt: skip
    """Grade what is recorded beside tasks, and compare with what it was worth then.

    That is in TASK/tests (docs/tasks.md), and of tasks of INGInious, which have a task.yaml, in
    TASK/test (docs/inginious.md).
    """
    if report is not None:
        require_writable(report)
    settings = flags.settings_for_sandboxes(driver=driver)
    wanted = Wanted(environments=environments(settings, named), texts=texts)
    out = console()
    tell: OnTested = (lambda tested: None) if as_json else (lambda tested: _show(out, tested))
    with shown_progress(quiet=as_json) as on_progress:
        tested = run_watched(lambda: _test_all(settings, folders, wanted, tell, on_progress))
    failed = [each for each in tested if each.problems]
    if report is not None:
        with whole_file(report) as file:
            file.write(junit(tested))
    if as_json:
        print_json({"passed": not failed, "tests": [as_data(each) for each in tested]})
    elif failed:
        out.print(bad(f"{len(tested)} recorded: {len(failed)} not worth what was recorded"))
    else:
        out.print(good(f"{len(tested)} recorded: all are worth what was recorded"))
    return Status.FAILED if failed else 0


def _tasks(folder: Path) -> list[Path]:
    """The folders of tasks that a folder is or holds."""
    if (folder / COURSE_FILE).is_file():
        course = load_course(folder)
        for problem in course.broken:
            raise problem
        return [task.folder for task, _ in course.tasks]
    if (folder / FILE).is_file():
        return [folder]
    found = tasks_in(folder)
    if not found:
        raise InvalidTask(f"{folder}: this is no task: there is no {FILE} or task.yaml in it")
    return found


async def _test_all(
    settings: Settings,
    folders: Sequence[Path],
    wanted: Wanted,
    tell: OnTested,
    on_progress: OnProgress,
) -> list[Tested]:
    tested = []
    tasks = [task for folder in folders for task in _tasks(folder)]
    async with open_bench(settings, on_progress) as bench:
        for folder in tasks:
            if (folder / FILE).is_file():
                tested += await _test_native(folder, bench, tell)
            else:
                tested += await test_inginious(folder, bench, tell, wanted)
    if not tested:
        raise InvalidTask("nothing is recorded there: docs/inginious.md says how that is done")
    return tested


async def _test_native(folder: Path, bench: Bench, tell: OnTested) -> list[Tested]:
    task, bundle = load_task(folder)
    recorded = recorded_of(task, bundle)
    if not recorded:
        raise InvalidTask(
            f"{folder}: nothing is recorded; make tests/NAME with a submission and expected.toml"
        )

    async def one(wanted: Recorded) -> Tested:
        started = time.monotonic()
        result = await grade(
            Attempt(
                task=task,
                bundle=bundle,
                submission=wanted.submission,
                places=bench.places,
                seed=wanted.seed,
                seats=bench.seats,
            )
        )
        made = Tested(
            task=task.id,
            name=wanted.name,
            problems=tuple(differences(wanted, result)),
            verdict=result.verdict,
            grade=result.grade,
            seconds=time.monotonic() - started,
        )
        tell(made)
        return made

    return await each(one, recorded, at_once=bench.workers)


def _show(out: Any, tested: Tested) -> None:
    grade = "–" if tested.grade is None else f"{tested.grade:g}"
    name = f"{tested.task} / {tested.name}"
    line = f" {name:<44} {tested.verdict.replace('_', ' '):<14} {grade:>6} {tested.seconds:>6.2f} s"
    out.print(bad("✗") if tested.problems else good("✓"), line, sep="")
    for problem in tested.problems:
        out.print(bad(f"    {problem}"))
    for line in said_now(tested.said):
        out.print(f"    {line}")
