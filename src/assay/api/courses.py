"""Courses and their tasks, as learners may see them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec
from aiohttp import web

from assay.api.answers import json
from assay.api.route import Call, Route
from assay.domain.errors import NotFound
from assay.grading.desk import Desk
from assay.grading.tasks import Bundle, Cases, Choice, Course, Part, Task

_CAPITAL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
"""Where a word begins in the name of a class."""


class TaskSummary(msgspec.Struct, rename="camel", kw_only=True):
    """A task in its course's list."""

    id: str
    title: str
    environment: str
    deadline: datetime | None


class CourseAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A course with its tasks, in their order."""

    id: str
    title: str
    tasks: list[TaskSummary]
    broken: list[str]
    """For teachers: what is wrong with tasks that are not in the list."""


class CourseList(msgspec.Struct, kw_only=True):
    """All courses, by their ids."""

    courses: list[CourseAnswer]


class PartAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """What a learner may know of a part before handing in."""

    id: str
    title: str
    kind: str
    weight: float
    choices: list[str]
    """Of a choice: texts; their numbers, from 0, are the answer."""
    several: bool
    cases: list[str]
    """Names of those that are not hidden."""


class TaskAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A task as a learner sees it."""

    id: str
    title: str
    description: str
    """Markdown."""
    environment: str
    files: list[str]
    optional: list[str]
    template: dict[str, str]
    """What to begin with; files that are no text are left out."""
    parts: list[PartAnswer]
    attempts: int | None
    opens: datetime | None
    deadline: datetime | None
    passing_grade: float
    digest: str
    """Of all its files: another one is another version."""


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
    names = call.request.match_info
    return json(_shown(*desk_of(call).courses.task(names["course"], names["task"])))


def _course(call: Call, course: Course) -> CourseAnswer:
    return CourseAnswer(
        id=course.id,
        title=course.title,
        tasks=[
            TaskSummary(
                id=task.id, title=task.title, environment=task.environment,
                deadline=task.rules.deadline,
            )
            for task, _ in course.tasks
        ],
        broken=[each.message for each in course.broken] if call.caller.teaches(course.id) else [],
    )  # fmt: skip


def _shown(task: Task, bundle: Bundle) -> TaskAnswer:
    return TaskAnswer(
        id=task.id,
        title=task.title,
        description=task.description,
        environment=task.environment,
        files=list(task.files),
        optional=list(task.optional),
        template=_texts(task),
        parts=[_part(part) for part in task.parts],
        attempts=task.rules.attempts,
        opens=task.rules.opens,
        deadline=task.rules.deadline,
        passing_grade=task.passing_grade,
        digest=bundle.digest,
    )


def _texts(task: Task) -> dict[str, str]:
    found = {}
    for name, content in task.template.items():
        try:
            found[name] = content.decode()
        except UnicodeDecodeError:
            continue
    return found


def _part(part: Part) -> PartAnswer:
    return PartAnswer(
        id=part.id,
        title=part.title,
        kind=_CAPITAL.sub("_", type(part).__name__).lower(),
        weight=part.weight,
        choices=[each.text for each in part.choices] if isinstance(part, Choice) else [],
        several=isinstance(part, Choice) and part.several,
        cases=[case.name for case in part.cases if not case.hidden]
        if isinstance(part, Cases)
        else [],
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
        responses={200: TaskAnswer},
        problems=(404,),
    ),
)
