"""What is handed in for a trial: the reference solution, and what must never have full marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from assay.environments import Trials
from assay.environments.trials import program
from assay.grading.tasks.model import Case, Cases, Choice, Match, Task
from assay.grading.tasks.submission import Answer, Submission, submission_of
from assay.grading.trials.findings import runs_programs

PRINTED_MOST: Final = 16 * 1024
"""Bytes of an expected output that a program can be written for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """A submission that must not have full marks."""

    name: str
    submission: Submission = field(repr=False)
    remedy: str
    """What to do where it has them."""
    hurried: bool = False
    """Whether it is no use to let it have all of its time."""


def answers_of(task: Task, known: Mapping[str, Answer] = {}) -> dict[str, Answer]:
    """The right answers; of patterns those that are `known`."""
    answers: dict[str, Answer] = {}
    for part in task.parts:
        if isinstance(part, Choice):
            answers[part.id] = tuple(at for at, each in enumerate(part.choices) if each.right)
        elif isinstance(part, Match):
            if not part.pattern:
                answers[part.id] = part.answers[0]
            elif part.id in known:
                answers[part.id] = known[part.id]
    return answers


def reference(task: Task, answers: Mapping[str, Answer]) -> Submission:
    """The reference solution, as a learner would hand it in. Raises InvalidSubmission."""
    wanted = (*task.files, *task.optional)
    files = {name: task.solution[name] for name in wanted if name in task.solution}
    return submission_of(task, files, answers)


def wrong_ones(task: Task, right: Submission, programs: Trials) -> Iterator[Trial]:
    """All that is handed in besides, for this task."""
    if runs_programs(task):
        yield from _whole(task, right)
        yield from _by_program(task, right, programs)
    if any(isinstance(part, Choice | Match) and part.weight for part in task.parts):
        yield from _by_answers(task, right)


def _whole(task: Task, right: Submission) -> Iterator[Trial]:
    if task.template:
        files = {name: task.template.get(name, b"") for name in task.files}
        yield Trial(
            name="the template as it is",
            submission=Submission(files=files, answers=right.answers),
            remedy="leave in the folder template only what is not the solution",
        )
    yield Trial(
        name="empty files",
        submission=Submission(files=dict.fromkeys(task.files, b""), answers=right.answers),
        remedy="give cases that expect an output",
    )


def _by_program(task: Task, right: Submission, programs: Trials) -> Iterator[Trial]:
    def handed_in(template: str, text: bytes = b"") -> Submission:
        stem = PurePosixPath(task.files[0]).stem
        main = program(template, name=stem, text=text)
        return Submission(files={**right.files, task.files[0]: main}, answers=right.answers)

    if programs.exits:
        yield Trial(
            name="a program that does nothing",
            submission=handed_in(programs.exits),
            remedy="give cases that expect an output, or another exit status than 0",
        )
    shown = first_shown(task)
    if programs.prints and shown is not None:
        assert shown.expected is not None
        yield Trial(
            name=f"what {shown.name!r} expects",
            submission=handed_in(programs.prints, shown.expected),
            remedy="give cases that expect something else, hidden ones best, or random ones",
        )
    for name, template in (
        ("a program that never ends", programs.loops),
        ("a program that prints for ever", programs.floods),
    ):
        if template:
            yield Trial(
                name=name,
                submission=handed_in(template),
                remedy="give cases that expect an output",
                hurried=True,
            )


def first_shown(task: Task) -> Case | None:
    """The first case that learners see whose output a program could simply print."""
    return next(
        (
            case
            for part in task.parts
            if isinstance(part, Cases)
            for case in part.cases
            if not case.hidden and case.expected and len(case.expected) <= PRINTED_MOST
        ),
        None,
    )


def _by_answers(task: Task, right: Submission) -> Iterator[Trial]:
    remedy = "give the questions a weight"
    yield Trial(
        name="no answers", submission=Submission(files=right.files, answers={}), remedy=remedy
    )
    wrong = {part.id: _wrong(part) for part in task.parts if isinstance(part, Choice | Match)}
    yield Trial(
        name="wrong answers",
        submission=Submission(files=right.files, answers=wrong),
        remedy="mark right answers only, and let patterns match less",
    )


def _wrong(part: Choice | Match) -> Answer:
    if isinstance(part, Match):
        return "surely not this"
    wrong = tuple(at for at, choice in enumerate(part.choices) if not choice.right)
    return wrong if part.several else wrong[:1]
