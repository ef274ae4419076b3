"""A course: a folder of tasks, with a `course.toml`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

import assay
from assay.domain.errors import InvalidTask, Unavailable
from assay.environments.strict import Mistake, Shape
from assay.grading.tasks.bundle import Bundle
from assay.grading.tasks.document import Line
from assay.grading.tasks.loader import FILE as TASK_FILE
from assay.grading.tasks.loader import load_task
from assay.grading.tasks.model import Task

FILE: Final = "course.toml"


class Document(Struct, forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    title: Line
    tasks: list[str] = []
    """In this order; the others behind them."""
    share: Annotated[float, Meta(gt=0, le=1000)] = 1.0


SHAPE: Final = Shape(
    type=Document,
    keys={"": Document.__struct_fields__},
    hints={
        "title": "one line of at most 120 characters",
        "tasks": 'a list of folders such as ["hello", "sum"]',
    },
    manual="docs/tasks.md",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """A course with all of its tasks that could be read."""

    id: str
    """Its folder's name."""
    title: str
    tasks: tuple[tuple[Task, Bundle], ...] = ()
    broken: tuple[InvalidTask, ...] = ()
    """What is wrong with the others."""
    share: float = 1.0
    """Of the graders' time, beside other courses, when there is not enough for all."""


def bundled_course() -> Path:
    """The folder of the course that comes with Assay, in a wheel or in a checkout."""
    package = Path(assay.__file__).parent
    for folder in (package / "_courses", package.parents[1] / "courses"):
        if folder.is_dir():
            return folder / "introduction"
    raise Unavailable("the course that comes with Assay is missing: install it again")


def load_course(folder: Path) -> Course:
    """Load a course and its tasks. One that is wrong hides no other. Raises InvalidTask."""
    file = folder / FILE
    try:
        text = SHAPE.decode(file.read_bytes())
        names = [entry.name for entry in sorted(folder.iterdir()) if (entry / TASK_FILE).is_file()]
    except OSError as error:
        raise InvalidTask(f"{file}: {error.strerror}; a course is a folder with {FILE}") from error
    except Mistake as mistake:
        raise InvalidTask(f"{file}: {mistake}") from mistake
    unknown = [name for name in text.tasks if name not in names]
    if unknown:
        raise InvalidTask(f"{file}: tasks: there is no task {unknown[0]!r}; remove it, or add it")
    tasks, broken = [], []
    for name in dict.fromkeys((*text.tasks, *names)):
        try:
            tasks.append(load_task(folder / name))
        except InvalidTask as problem:
            broken.append(problem)
    return Course(
        id=folder.absolute().name,
        title=text.title,
        tasks=tuple(tasks),
        broken=tuple(broken),
        share=text.share,
    )
