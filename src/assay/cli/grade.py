"""`assay grade`: one submission, on this machine, without a server."""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.markdown import Markdown
from rich.padding import Padding

from assay.bootstrap import Catalogue, choose_driver, open_driver
from assay.bootstrap.places import DriverPlaces
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.failure import say
from assay.cli.grade_record import Work, recorded_work, save_record
from assay.cli.grade_reports import as_csv, as_junit, row_of
from assay.cli.handed_in import content_in
from assay.cli.interrupts import run_watched
from assay.cli.progress import shown_progress
from assay.cli.server import server_options
from assay.cli.show import bad, console, good, print_json, table
from assay.cli.task_environments import environment_option, environments
from assay.cli.whole_file import require_writable, whole_file
from assay.config import Settings
from assay.driver.port import Secret
from assay.grading.joint import Seats
from assay.grading.kinds import Kinds, holds_course
from assay.grading.offered import Before, Grading, Offered
from assay.grading.results import PartResult, Result, TestResult, Verdict, shown_parts
from assay.images import OnProgress

_NO_SERVER: Final = Secret(bytes(32))
"""Learners have their own random numbers here, too, and hide them from nobody."""
EPILOG: Final = """\b
Examples:
  assay grade sum sum.py               the file sum.py for the task in the folder sum
  assay grade sum ./mine               all files of a folder
  assay grade sum                      the task's own reference solution
  assay grade quiz --answer planet=2 --answer capital=Paris
  assay grade --teacher sum sum.py     what hidden tests say, too
  assay grade c-course/strcpy strcpy.c a task of INGInious, whose course is the folder around it
  assay grade --json sum sum.py        the whole result as one line of JSON
  assay grade --junit sum.xml sum sum.py     for continuous integration; --csv for spreadsheets
  assay grade --save this.json sum sum.py    with all that it needs to be graded again
  assay grade --record this.json       again: the same task, files, seed and limits
  assay grade --record ID --server URL as a server has graded it

\b
The exit status is 0 where the task's passing grade is reached, 1 where it is not, and 3 where
there is no grade, because the task or the machine is at fault.
"""


@click.command(epilog=EPILOG)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    metavar="PART=ANSWER",
    help="To a question; numbers from 0 for choices, such as 0,2; may be repeated.",
)
@click.option(
    "--input", "inputs", multiple=True, metavar="NAME=VALUE",
    help="Of a task of INGInious: @lang, @email, @username or @lti_…; may be repeated.",
)  # fmt: skip
@click.option("--learner", default="student", show_default=True, help="Whose it is.")
@environment_option
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Of what is random. [random]")
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@click.option("--teacher", is_flag=True, help="Show what is hidden from learners.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write JUnit's XML there, too.",
)  # fmt: skip
@click.option(
    "--csv", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write a line of CSV there, too.",
)  # fmt: skip
@click.option(
    "--save", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write the grading there, with all that it needs, hidden tests too.",
)  # fmt: skip
@click.option(
    "--archive", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Write there what a grader of INGInious' has kept, a tar compressed with gzip.",
)  # fmt: skip
@click.option(
    "--record", metavar="FILE-OR-ID",
    help="Do again what --save has written, or a server has graded.",
)  # fmt: skip
@server_options
@click.argument(
    "task", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.pass_obj
def grade(
    flags: Flags,
    *,
    answers: tuple[str, ...],
    inputs: tuple[str, ...],
    learner: str,
    named: tuple[str, ...],
    seed: int | None,
    driver: str | None,
    teacher: bool,
    as_json: bool,
    junit: Path | None,
    csv: Path | None,
    save: Path | None,
    archive: Path | None,
    record: str | None,
    server: str,
    token: str | None,
    task: Path | None,
    files: tuple[Path, ...],
) -> int:
    """Grade FILES for the task in the folder TASK, here and now.

    Without files and answers, the reference solution is graded, with the right answers. Deadlines
    and limits of attempts don't hold here.
    """
    for path in (junit, csv, save, archive):
        if path is not None:
            require_writable(path)
    watch = _Watch()
    settings = flags.settings_for_sandboxes(driver=driver)
    kinds = Kinds(environments=environments(settings, named))
    if record is not None:
        if task is not None or answers or inputs or seed is not None:
            raise click.UsageError("--record has its own task, files, answers and seed")
        work = recorded_work(record, server, token, kinds)
    elif task is None:
        raise click.UsageError("Missing argument 'TASK'")
    else:
        loaded = kinds.task(task)
        work = Work(
            task=loaded, content=content_in(loaded, files, answers, inputs), learner=learner,
            seed=_seed(loaded, task, learner) if seed is None else seed, submitted_at=time.time(),
        )  # fmt: skip
    watch.sent()
    with shown_progress(quiet=as_json) as on_progress:
        result = run_watched(lambda: _grade(settings, work, on_progress, watch))
    result = watch.answered(result)
    _keep_archive(archive, result)
    if save is not None:
        save_record(save, work, result)
    row = row_of(work, result, course=_course(task), files=files)
    for path, written in ((junit, as_junit), (csv, as_csv)):
        if path is not None:
            with whole_file(path) as file:
                file.write(written(row))
    remarks = work.remarks(result)
    if as_json:
        about = {"task": work.task.id, "digest": work.digest, "seed": work.seed}
        print_json({**about, **as_data(result), **({"remarks": remarks} if record else {})})
    else:
        show(work.task, result, teacher=teacher)
        for remark in remarks:
            say(f"differs from the record: {remark}")
    return status(result)


def _seed(task: Offered, folder: Path, learner: str) -> int:
    """The learner's own here: what a server gives depends on a key that it keeps."""
    folder = folder.absolute()
    found = task.seed(_NO_SERVER, f"{folder.parent.name}/{folder.name}/{learner}", Before())
    return secrets.randbits(32) if found is None else found


def _course(task: Path | None) -> str:
    """What the course is called in which a task's folder is; "": it is in none."""
    around = None if task is None else task.absolute().parent
    return around.name if around is not None and holds_course(around) else ""


def _keep_archive(path: Path | None, result: Result) -> None:
    if path is None:
        return
    if result.archive is None:
        say("the grader has kept nothing: there is no archive to write")
        return
    with whole_file(path) as file:
        file.write(result.archive.content or b"")


async def _grade(settings: Settings, work: Work, on_progress: OnProgress, watch: _Watch) -> Result:
    name = await choose_driver(settings)
    async with open_driver(settings, name) as driver:
        places = DriverPlaces(driver, Catalogue(settings), on_progress=on_progress)
        again = None if work.complete is None else work.complete.record
        grading = Grading(
            course="", learner=work.learner, content=work.content, seed=work.seed,
            submitted_at=work.submitted_at, sandboxes=places, again=again,
            factor=1.0 if again is None else again.factor,
            seats=Seats(len(os.sched_getaffinity(0))),
        )  # fmt: skip
        watch.ready()
        result = await work.task.grade(grading)
        watch.graded()
        return result


class _Watch:
    """The delays without a server: nothing waits, and the driver's start is booting."""

    def __init__(self) -> None:
        self._moments = [time.perf_counter()]

    def _note(self) -> None:
        self._moments.append(time.perf_counter())

    sent = ready = graded = _note

    def answered(self, result: Result) -> Result:
        """With all five: what is asked for is read, and what was found is about to be shown."""
        began, sent, ready, graded = self._moments
        delays = replace(
            result.delays,
            sending=sent - began,
            booting=result.delays.booting + ready - sent,
            response=time.perf_counter() - graded,
        )
        return replace(result, delays=delays)


def as_data(result: Result) -> dict[str, Any]:
    """A result as JSON has it."""
    data: dict[str, Any] = json.loads(msgspec.json.encode(result))
    return data


def status(result: Result) -> int:
    """The exit status."""
    if result.verdict is Verdict.ERROR:
        return Status.NO_GRADE
    return 0 if result.verdict is Verdict.PASSED else Status.FAILED


def show(task: Offered, result: Result, *, teacher: bool) -> None:
    """A table, and beneath it what there is to say."""
    out = console()
    shown = table("part", "test", "verdict", "score", "time", right=("score", "time"))
    parts = result.parts if teacher else shown_parts(result)
    for part in parts:
        _add(shown, part, teacher=teacher)
    out.print(shown)
    for part in parts:
        _say(out, part.id, part.message)
        for test in part.tests:
            _say(out, f"{part.id} / {test.name}", test.message)
            if teacher:
                _say(out, f"{part.id} / {test.name} (hidden)", test.detail)
    _say(out, task.id, result.message)
    if result.tags:
        out.print(", ".join(_tag(name, value) for name, value in result.tags.items()))
    if result.detail:
        out.print(bad(result.detail))
    grade = "no grade" if result.grade is None else f"{result.grade:g} of 100"
    line = f"{task.title}: {grade}, {result.verdict.replace('_', ' ')}"
    out.print((good if result.verdict is Verdict.PASSED else bad)(line))


def _tag(name: str, value: bool | str) -> str:
    return value if isinstance(value, str) else name if value else f"not {name}"


def _add(shown: Any, part: PartResult, *, teacher: bool) -> None:
    shown.add_row(
        part.id, "", _coloured(part.verdict), f"{100 * part.score:.3g} %", "",
    )  # fmt: skip
    for test in part.tests:
        name = f"{test.name} (hidden)" if test.hidden else test.name
        shown.add_row("", name, _coloured(test.verdict), f"{100 * test.score:.3g} %", _time(test))


def _time(test: TestResult) -> str:
    return "" if test.wall_seconds is None else f"{1000 * test.wall_seconds:.1f} ms"


def _coloured(verdict: Verdict) -> Any:
    text = verdict.replace("_", " ")
    return good(text) if verdict is Verdict.PASSED else bad(text)


def _say(out: Any, title: str, message: str) -> None:
    if message:
        out.print()
        out.print(bad(title))
        out.print(Padding(Markdown(message), (0, 0, 0, 2)))
