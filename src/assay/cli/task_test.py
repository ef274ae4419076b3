"""`assay task test`: grade what is recorded beside a task, and compare."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import run_watched
from assay.cli.progress import shown_progress
from assay.cli.show import bad, console, good, print_json
from assay.cli.task_junit import junit
from assay.cli.task_places import Bench, open_bench
from assay.config import Settings
from assay.domain.errors import InvalidTask
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
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

\b
The exit status is 0 where every recorded submission is worth what was recorded.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """One recorded submission, and what it is worth now."""

    task: str
    name: str
    problems: tuple[str, ...] = ()
    """Where that is not what was recorded."""
    verdict: str = ""
    grade: float | None = None
    seconds: float = 0.0


OnTested = Callable[[Tested], object]


@click.command(epilog=EPILOG)
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
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
    flags: Flags, *, driver: str | None, as_json: bool, report: Path | None,
    folders: tuple[Path, ...],
) -> int:  # fmt: skip
    """Grade the submissions in TASK/tests, and compare with what was recorded.

    docs/tasks.md says how to record one.
    """
    settings = flags.settings_for_sandboxes(driver=driver)
    out = console()
    tell: OnTested = (lambda tested: None) if as_json else (lambda tested: _show(out, tested))
    with shown_progress(quiet=as_json) as on_progress:
        tested = run_watched(lambda: _test_all(settings, _tasks(folders), tell, on_progress))
    failed = [each for each in tested if each.problems]
    if report is not None:
        report.write_bytes(junit(tested))
    if as_json:
        print_json({"passed": not failed, "tests": [as_data(each) for each in tested]})
    elif failed:
        out.print(bad(f"{len(tested)} recorded: {len(failed)} not worth what was recorded"))
    else:
        out.print(good(f"{len(tested)} recorded: all are worth what was recorded"))
    return Status.FAILED if failed else 0


def _tasks(folders: Sequence[Path]) -> list[Path]:
    """The folders of tasks, those of courses too."""
    tasks = []
    for folder in folders:
        if (folder / COURSE_FILE).is_file():
            course = load_course(folder)
            for problem in course.broken:
                raise problem
            tasks += [task.folder for task, _ in course.tasks]
        else:
            tasks.append(folder)
    return tasks


async def _test_all(
    settings: Settings, folders: Sequence[Path], tell: OnTested, on_progress: OnProgress
) -> list[Tested]:
    tested = []
    async with open_bench(settings, on_progress) as bench:
        for folder in folders:
            tested += await _kind(folder)(folder, bench, tell)
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
                parallel=bench.parallel,
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


Tester = Callable[[Path, Bench, OnTested], Awaitable[list[Tested]]]
KINDS: Final[dict[str, Tester]] = {FILE: _test_native}
"""By the file that makes a folder one of a kind, how what is recorded in it is tested."""


def _kind(folder: Path) -> Tester:
    for name, tester in KINDS.items():
        if (folder / name).is_file():
            return tester
    raise InvalidTask(f"{folder}: this is no task: there is no {' or '.join(KINDS)}")


def _show(out: Any, tested: Tested) -> None:
    grade = "–" if tested.grade is None else f"{tested.grade:g}"
    name = f"{tested.task} / {tested.name}"
    line = f" {name:<44} {tested.verdict.replace('_', ' '):<14} {grade:>6} {tested.seconds:>6.2f} s"
    out.print(bad("✗") if tested.problems else good("✓"), line, sep="")
    for problem in tested.problems:
        out.print(bad(f"    {problem}"))


def as_data(tested: Tested) -> dict[str, Any]:
    """One as JSON has it."""
    return {
        "task": tested.task,
        "name": tested.name,
        "passed": not tested.problems,
        "problems": list(tested.problems),
        "verdict": tested.verdict,
        "grade": tested.grade,
        "seconds": round(tested.seconds, 3),
    }
