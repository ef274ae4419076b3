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
from assay.cli.grade_reports import as_csv, as_junit, row_of, write
from assay.cli.interrupts import run_watched
from assay.cli.progress import shown_progress
from assay.cli.server import server_options
from assay.cli.show import bad, console, good, print_json, table
from assay.config import Settings
from assay.domain.errors import InvalidInput
from assay.grading.attempt import Attempt
from assay.grading.grade import grade as grade_attempt
from assay.grading.joint import Seats
from assay.grading.recorded import recorded_of, right_answers
from assay.grading.results import PartResult, Result, TestResult, Verdict
from assay.grading.tasks import Bundle, Submission, Task, load_task, submission_of
from assay.grading.trials.submissions import reference
from assay.images import OnProgress

EPILOG: Final = """\b
Examples:
  assay grade sum sum.py               the file sum.py for the task in the folder sum
  assay grade sum ./mine               all files of a folder
  assay grade sum                      the task's own reference solution
  assay grade quiz --answer planet=2 --answer capital=Paris
  assay grade --teacher sum sum.py     what hidden tests say, too
  assay grade --json sum sum.py        the whole result as one line of JSON
  assay grade --junit sum.xml sum sum.py     for continuous integration; --csv for spreadsheets
  assay grade --save this.json sum sum.py    with all that it needs to be graded again
  assay grade --record this.json       again: the same task, files, seed and limits
  assay grade --record ID --server URL as a server has graded it

\b
The exit status is 0 where the task's passing grade is reached, 1 where it is not, and 3 where
there is no grade, because the task or the machine is at fault.
"""

NO_GRADE: Final = 3


@click.command(epilog=EPILOG)
@click.option(
    "--answer",
    "answers",
    multiple=True,
    metavar="PART=ANSWER",
    help="To a question; numbers from 0 for choices, such as 0,2; may be repeated.",
)
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
    seed: int | None,
    driver: str | None,
    teacher: bool,
    as_json: bool,
    junit: Path | None,
    csv: Path | None,
    save: Path | None,
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
    watch, began = _Watch(), time.time()
    if record is not None:
        if task is not None or answers or seed is not None:
            raise click.UsageError("--record has its own task, files, answers and seed")
        work = recorded_work(record, server, token)
    elif task is None:
        raise click.UsageError("Missing argument 'TASK'")
    else:
        loaded, bundle = load_task(task)
        work = Work(
            task=loaded, bundle=bundle, submission=_submission(loaded, bundle, files, answers),
            seed=secrets.randbits(32) if seed is None else seed,
        )  # fmt: skip
    settings = flags.settings_for_sandboxes(driver=driver)
    watch.sent()
    with shown_progress(quiet=as_json) as on_progress:
        result = run_watched(lambda: _grade(settings, work, on_progress, watch))
    result = watch.answered(result)
    if save is not None:
        save_record(save, work, result)
    row = row_of(work, result, files, began=began)
    for path, written in ((junit, as_junit), (csv, as_csv)):
        if path is not None:
            write(path, written(row))
    remarks = work.remarks(result)
    if as_json:
        about = {"task": work.task.id, "digest": work.bundle.digest, "seed": work.seed}
        print_json({**about, **as_data(result), **({"remarks": remarks} if record else {})})
    else:
        show(work.task, result, teacher=teacher)
        for remark in remarks:
            say(f"differs from the record: {remark}")
    return status(result)


async def _grade(settings: Settings, work: Work, on_progress: OnProgress, watch: _Watch) -> Result:
    name = await choose_driver(settings)
    async with open_driver(settings, name) as driver:
        places = DriverPlaces(driver, Catalogue(settings), on_progress=on_progress)
        again = None if work.complete is None else work.complete.record
        attempt = Attempt(
            task=work.task, bundle=work.bundle, submission=work.submission, places=places,
            seed=work.seed, seats=Seats(len(os.sched_getaffinity(0))), again=again,
        )  # fmt: skip
        watch.ready()
        result = await grade_attempt(attempt, factor=1.0 if again is None else again.factor)
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


def _submission(
    task: Task, bundle: Bundle, files: tuple[Path, ...], answers: tuple[str, ...]
) -> Submission:
    if not files and not answers:
        return reference(task, right_answers(task, recorded_of(task, bundle)))
    contents: dict[str, bytes] = {}
    for path in files:
        if path.is_dir():
            beneath = {*task.files, *task.optional}
            found = {name: path / name for name in beneath if (path / name).is_file()}
        else:
            found = {_wanted(task, path): path}
        contents |= {name: file.read_bytes() for name, file in found.items()}
    return submission_of(task, contents, dict(_answer(text) for text in answers))


def _wanted(task: Task, path: Path) -> str:
    """As which of the task's files: of this name, or the only one that there is."""
    wanted = (*task.files, *task.optional)
    named = [name for name in wanted if Path(name).name == path.name]
    if len(named) == 1:
        return named[0]
    return wanted[0] if len(wanted) == 1 else path.name


def _answer(text: str) -> tuple[str, object]:
    part, separator, answer = text.partition("=")
    if not separator:
        raise InvalidInput(f"--answer {text}: write PART=ANSWER")
    pieces = answer.split(",")
    if all(piece.strip().isdigit() for piece in pieces):
        return part, [int(piece) for piece in pieces]
    return part, answer


def as_data(result: Result) -> dict[str, Any]:
    """A result as JSON has it."""
    data: dict[str, Any] = json.loads(msgspec.json.encode(result))
    return data


def status(result: Result) -> int:
    """The exit status."""
    if result.verdict is Verdict.ERROR:
        return NO_GRADE
    return 0 if result.verdict is Verdict.PASSED else Status.FAILED


def show(task: Task, result: Result, *, teacher: bool) -> None:
    """A table, and beneath it what there is to say."""
    out = console()
    shown = table("part", "test", "verdict", "score", "time", right=("score", "time"))
    for part in result.parts:
        _add(shown, part, teacher=teacher)
    out.print(shown)
    for part in result.parts:
        _say(out, part.id, part.message)
        for test in part.tests:
            _say(out, f"{part.id} / {test.name}", test.message)
            if teacher:
                _say(out, f"{part.id} / {test.name} (hidden)", test.detail)
    _say(out, task.id, result.message)
    if result.detail:
        out.print(bad(result.detail))
    grade = "no grade" if result.grade is None else f"{result.grade:g} of 100"
    line = f"{task.title}: {grade}, {result.verdict.replace('_', ' ')}"
    out.print((good if result.verdict is Verdict.PASSED else bad)(line))


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
