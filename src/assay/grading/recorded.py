"""Submissions that a task's author has recorded, with what they are worth: TASK/tests/NAME."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from assay.domain.errors import InvalidSubmission, InvalidTask
from assay.environments.strict import Mistake, Shape, require
from assay.grading.results import Result, Verdict
from assay.grading.tasks.bundle import Bundle
from assay.grading.tasks.model import Task, UnitTests
from assay.grading.tasks.submission import Answer, Submission, submission_of
from assay.grading.trials.submissions import answers_of, reference

FOLDER: Final = "tests"
FILE: Final = "expected.toml"

VerdictName = Literal[
    "passed", "partial", "failed", "timed_out", "out_of_memory", "output_limit", "crashed",
    "not_run", "error",
]  # fmt: skip


class Document(Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    about: str = ""
    grade: Annotated[float, Meta(ge=0, le=100)] | None = None
    verdict: VerdictName | None = None
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 1
    parts: dict[str, VerdictName] = {}
    answers: dict[str, str | int | list[int]] = {}


SHAPE: Final = Shape(
    type=Document,
    keys={"": Document.__struct_fields__},
    hints={
        "answers": '[answers] with planet = [2] for choices, and capital = "Paris"',
        "grade": "a number from 0 to 100",
        "parts": '[parts] with examples = "passed"',
        "verdict": '"passed", "partial", "failed", "timed_out", "crashed", …',
    },
    manual="docs/tasks.md",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One submission, and what it is worth; None: that is not said."""

    name: str
    about: str
    submission: Submission = field(repr=False)
    seed: int
    grade: float | None
    verdict: Verdict | None
    parts: Mapping[str, Verdict]


def recorded_of(task: Task, bundle: Bundle) -> tuple[Recorded, ...]:
    """All that are there, by name. Raises InvalidTask."""
    beneath = bundle.beneath(FOLDER)
    names = sorted({name.partition("/")[0] for name in beneath})
    return tuple(_one(task, bundle, name) for name in names if not _is_test(task, bundle, name))


def _is_test(task: Task, bundle: Bundle, name: str) -> bool:
    """Whether it is no submission but a unit test of a part, which may lie there as well."""
    place = f"{FOLDER}/{name}"
    parts = [part for part in task.parts if isinstance(part, UnitTests)]
    there = [test for part in parts for test in part.tests if test.startswith(f"{FOLDER}/")]
    if f"{place}/{FILE}" in bundle.files or not there:
        return False
    beside = place in bundle.files  # such as conftest.py
    return beside or any(test.startswith(f"{place}/") for test in there)


def _one(task: Task, bundle: Bundle, name: str) -> Recorded:
    files = bundle.beneath(f"{FOLDER}/{name}")
    place = task.folder / FOLDER / name
    if FILE not in files:
        raise InvalidTask(f"{place}: there is no {FILE}; say in it what the submission is worth")
    try:
        text = SHAPE.decode(files.pop(FILE))
        _require(task, text)
        submission = _submission(task, files, text.answers)
    except (Mistake, InvalidSubmission) as mistake:
        raise InvalidTask(f"{place / FILE}: {mistake}") from mistake
    return Recorded(
        name=name,
        about=text.about,
        submission=submission,
        seed=text.seed,
        grade=text.grade,
        verdict=None if text.verdict is None else Verdict(text.verdict),
        parts={part: Verdict(verdict) for part, verdict in text.parts.items()},
    )


def _submission(
    task: Task, files: Mapping[str, bytes], answers: Mapping[str, object]
) -> Submission:
    """Without files of its own: the reference solution's."""
    return submission_of(task, files or reference(task, {}).files, answers)


def _require(task: Task, text: Document) -> None:
    require(
        text.grade is not None or text.verdict is not None or bool(text.parts),
        "",
        "nothing is said of what the submission is worth",
        "give a grade, a verdict or [parts]",
    )
    known = [part.id for part in task.parts]
    for part in text.parts:
        require(
            part in known, f"parts.{part}", "there is no such part", f"parts: {', '.join(known)}"
        )


def differences(recorded: Recorded, result: Result) -> Iterator[str]:
    """Where a result is not what was recorded."""
    if recorded.grade is not None and not _same(recorded.grade, result.grade):
        grade = "none" if result.grade is None else f"{result.grade:g}"
        yield f"the grade is {grade} instead of {recorded.grade:g}"
    if recorded.verdict is not None and recorded.verdict is not result.verdict:
        yield f"the verdict is {result.verdict} instead of {recorded.verdict}"
    verdicts = {part.id: part.verdict for part in result.parts}
    for part, verdict in recorded.parts.items():
        got = verdicts.get(part, "not there")
        if got is not verdict:
            yield f"the part {part} is {got} instead of {verdict}"


def _same(wanted: float, got: float | None) -> bool:
    return got is not None and math.isclose(wanted, got, abs_tol=0.005)


def right_answers(task: Task, recorded: Sequence[Recorded]) -> dict[str, Answer]:
    """The task's right answers; those to patterns are found in what is recorded."""
    known: dict[str, Answer] = {}
    for each in recorded:
        for part, answer in each.submission.answers.items():
            if each.grade == 100 or each.parts.get(part) is Verdict.PASSED:
                known.setdefault(part, answer)
    return answers_of(task, known)
