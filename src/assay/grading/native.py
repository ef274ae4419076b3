"""Tasks with a `task.toml`, as a server offers them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from assay.domain.errors import InvalidSubmission
from assay.driver.port import Secret
from assay.grading.attempt import Attempt
from assay.grading.grade import grade
from assay.grading.offered import (
    Before,
    Content,
    Given,
    Grading,
    OfferedCourse,
    Shown,
    ShownPart,
)
from assay.grading.results import Result
from assay.grading.tasks import (
    Bundle,
    Cases,
    Choice,
    Part,
    Rules,
    Submission,
    Task,
    load_course,
    load_task,
    submission_of,
)
from assay.grading.tasks.loader import task_in

_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
"""Where a word begins in the name of a class."""


def native_course(folder: Path) -> OfferedCourse:
    """The course of a folder with a `course.toml`. Raises InvalidTask."""
    course = load_course(folder)
    return OfferedCourse(
        id=course.id,
        title=course.title,
        tasks=tuple(NativeTask(task=task, bundle=bundle) for task, bundle in course.tasks),
        broken=course.broken,
        share=course.share,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class NativeTask:
    """One of them: see `Offered`."""

    task: Task
    bundle: Bundle
    kind: str = field(default="assay", init=False)
    weight: float = field(default=1.0, init=False)
    remarks: tuple[str, ...] = field(default=(), init=False)
    visible_tags: frozenset[str] = field(default=frozenset(), init=False)
    looks_back: bool = field(default=False, init=False)
    remembers: bool = field(default=False, init=False)
    renews_seed: bool = field(default=False, init=False)

    @classmethod
    def of(cls, bundle: Bundle, folder: Path) -> NativeTask:
        """One as it was. Raises InvalidTask."""
        return cls(task=task_in(bundle, folder), bundle=bundle)

    @classmethod
    def in_folder(cls, folder: Path) -> NativeTask:
        """One as it is. Raises InvalidTask."""
        task, bundle = load_task(folder)
        return cls(task=task, bundle=bundle)

    @property
    def id(self) -> str:
        """Its folder's name."""
        return self.task.id

    @property
    def title(self) -> str:
        """One line."""
        return self.task.title

    @property
    def environment(self) -> str:
        """Of its programs."""
        return self.task.environment

    @property
    def rules(self) -> Rules:
        """As they are written."""
        return self.task.rules

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """Its folder."""
        return (self.bundle,)

    def seed(self, key: Secret, who: str, before: Before) -> int | None:
        """Another one for each submission."""
        return None

    def shown(self, seed: int | None, language: str = "") -> Shown:
        """Nothing that is hidden."""
        task = self.task
        return Shown(
            title=task.title,
            description=task.description,
            files=task.files,
            optional=task.optional,
            template=task.template,
            parts=tuple(_part(part) for part in task.parts),
            passing_grade=task.passing_grade,
        )

    def accept(self, given: Given) -> Content:
        """Files and answers that the task asks for."""
        if given.inputs:
            raise InvalidSubmission("this task takes no inputs: they are for tasks of INGInious")
        contents = {name: file.content for name, file in given.files.items()}
        return content_of(submission_of(self.task, contents, given.answers))

    def submission(self, content: Content) -> Submission:
        """What was kept, as graders have it. Raises InvalidSubmission."""
        return submission_of(self.task, content.files, content.answers)

    async def grade(self, grading: Grading) -> Result:
        """By its parts; late ones count less."""
        attempt = Attempt(
            task=self.task,
            bundle=self.bundle,
            submission=self.submission(grading.content),
            places=grading.sandboxes,
            seed=grading.seed,
            owner=grading.owner,
            seats=grading.seats,
            at_once=grading.at_once,
            references=grading.references,
            again=grading.again,
            watch=grading.watch,
        )
        return await grade(attempt, factor=grading.factor, on_part=grading.on_part)


def content_of(submission: Submission) -> Content:
    """What is kept of a submission."""
    return Content(
        files=dict(submission.files),
        answers={
            name: answer if isinstance(answer, str) else list(answer)
            for name, answer in submission.answers.items()
        },
    )


def _part(part: Part) -> ShownPart:
    choices = part.choices if isinstance(part, Choice) else ()
    return ShownPart(
        id=part.id,
        title=part.title,
        kind=_CAPITAL.sub("_", type(part).__name__).lower(),
        weight=part.weight,
        choices=tuple(each.text for each in choices),
        order=tuple(range(len(choices))),
        several=isinstance(part, Choice) and part.several,
        cases=tuple(case.name for case in part.cases if not case.hidden)
        if isinstance(part, Cases)
        else (),
    )
