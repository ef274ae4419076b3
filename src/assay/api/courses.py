"""Courses and their tasks, as learners may see them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import web

from assay.api.answers import json
from assay.api.route import Call, Parameter, Route
from assay.domain.errors import NotFound
from assay.grading.desk import Desk
from assay.grading.earlier import Whose
from assay.grading.offered import Offered, OfferedCourse, Shown, ShownPart


class TaskSummary(msgspec.Struct, rename="camel", kw_only=True):
    """A task in its course's list."""

    id: str
    title: str
    kind: str
    """Of its folder: "assay" or "inginious"."""
    environment: str
    weight: float
    """Its share of the course's grade."""
    deadline: datetime | None
    closed: bool
    """Nothing is taken at any time."""


class CourseAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A course with its tasks, in their order."""

    id: str
    title: str
    tasks: list[TaskSummary]
    broken: list[str]
    """For teachers: what is wrong with tasks that are not in the list."""
    remarks: list[str]
    """For teachers: what of the course is not known, or not done."""


class CourseList(msgspec.Struct, kw_only=True):
    """All courses, by their ids."""

    courses: list[CourseAnswer]


class PartAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What a learner may know of a part before handing in."""

    id: str
    title: str
    kind: str
    weight: float
    description: str
    """Markdown."""
    choices: list[str]
    """Of a choice: texts; their numbers, from 0, are the answer."""
    order: list[int]
    """Numbers of the choices to show to this learner, in this order."""
    several: bool
    cases: list[str]
    """Names of those that are not hidden."""
    language: str
    template: str
    """Of a text: what to begin with."""
    optional: bool
    extensions: list[str]
    """Of a file: how its name may end."""
    most_bytes: int | None


class TaskAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A task as a learner sees it."""

    id: str
    title: str
    kind: str
    description: str
    """Markdown."""
    environment: str
    files: list[str]
    optional: list[str]
    template: dict[str, str]
    """What to begin with; files that are no text are left out."""
    parts: list[PartAnswer]
    attempts: int | None
    attempts_hours: float | None
    """In so many hours; null: in all."""
    opens: datetime | None
    deadline: datetime | None
    closed: bool
    passing_grade: float
    weight: float
    evaluate: str
    """Which submission of a learner's counts: "best" or "last"."""
    randoms: list[float]
    """Of a task of INGInious that has some: this learner's own, with `learner` only."""
    digest: str
    """Of all its files: another one is another version."""
    remarks: list[str]
    """For teachers: what of its files is not known, or not done."""


def desk_of(call: Call) -> Desk:
    """Where submissions are handed in. Raises NotFound."""
    if call.services.desk is None:
        raise NotFound("this server has no courses: its operator gives them by --courses")
    return call.services.desk


async def _courses(call: Call) -> web.StreamResponse:
    courses = desk_of(call).courses.all() if call.services.desk else []
    return json(CourseList(courses=[_course(call, course) for course in courses]))


async def _one(call: Call) -> web.StreamResponse:
    return json(_course(call, desk_of(call).courses.get(call.request.match_info["course"])))


async def _task(call: Call) -> web.StreamResponse:
    names, desk = call.request.match_info, desk_of(call)
    task = desk.courses.task(names["course"], names["task"])
    learner = call.request.query.get("learner")
    seed = None
    if learner is not None:
        whose = Whose(
            owner=call.caller.token_id, course=names["course"], task=task.id, learner=learner
        )
        seed = await desk.seed(task, whose)
    language = call.request.query.get("language", "")
    return json(_shown(call, names["course"], task, task.shown(seed, language)))


def _course(call: Call, course: OfferedCourse) -> CourseAnswer:
    teaches = call.caller.teaches(course.id)
    return CourseAnswer(
        id=course.id,
        title=course.title,
        tasks=[_summary(task) for task in course.tasks],
        broken=[each.message for each in course.broken] if teaches else [],
        remarks=list(course.remarks) if teaches else [],
    )


def _summary(task: Offered) -> TaskSummary:
    return TaskSummary(
        id=task.id,
        title=task.title,
        kind=task.kind,
        environment=task.environment,
        weight=task.weight,
        deadline=task.rules.deadline,
        closed=task.rules.closed,
    )


def _shown(call: Call, course: str, task: Offered, shown: Shown) -> TaskAnswer:
    return TaskAnswer(
        id=task.id,
        title=shown.title,
        kind=task.kind,
        description=shown.description,
        environment=task.environment,
        files=list(shown.files),
        optional=list(shown.optional),
        template=_texts(shown.template),
        parts=[_part(part) for part in shown.parts],
        attempts=task.rules.attempts,
        attempts_hours=task.rules.per_hours,
        opens=task.rules.opens,
        deadline=task.rules.deadline,
        closed=task.rules.closed,
        passing_grade=shown.passing_grade,
        weight=task.weight,
        evaluate=shown.evaluate,
        randoms=list(shown.randoms),
        digest=task.bundles[0].digest,
        remarks=list(task.remarks) if call.caller.teaches(course) else [],
    )


def _texts(template: Mapping[str, bytes]) -> dict[str, str]:
    found = {}
    for name, content in template.items():
        try:
            found[name] = content.decode()
        except UnicodeDecodeError:
            continue
    return found


def _part(part: ShownPart) -> PartAnswer:
    return PartAnswer(
        id=part.id,
        title=part.title,
        kind=part.kind,
        weight=part.weight,
        description=part.description,
        choices=list(part.choices),
        order=list(part.order),
        several=part.several,
        cases=list(part.cases),
        language=part.language,
        template=part.template,
        optional=part.optional,
        extensions=list(part.extensions),
        most_bytes=part.most_bytes,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/courses",
        handler=_courses,
        summary="All courses with their tasks",
        scope="submit",
        responses={200: CourseList},
    ),
    Route(
        method="GET",
        path="/courses/{course}",
        handler=_one,
        summary="A course with its tasks",
        scope="submit",
        responses={200: CourseAnswer},
        problems=(404,),
    ),
    Route(
        method="GET",
        path="/courses/{course}/tasks/{task}",
        handler=_task,
        summary="A task, as a learner may see it",
        scope="submit",
        parameters=(
            Parameter(name="learner", summary="With this learner's own random inputs and choices"),
            Parameter(
                name="language", summary="In this language, such as fr, where the task has it"
            ),
        ),
        responses={200: TaskAnswer},
        problems=(404,),
    ),
)
