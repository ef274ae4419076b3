"""Read folders with a `task.toml`, strictly: nothing in them is ignored or guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from assay.domain.errors import InvalidTask
from assay.environments.strict import Mistake
from assay.grading.tasks.bundle import Bundle, bundle_of
from assay.grading.tasks.conversion import task_of
from assay.grading.tasks.document import SHAPE
from assay.grading.tasks.model import Task

FILE: Final = "task.toml"


def load_task(folder: Path) -> tuple[Task, Bundle]:
    """Load one task and all its files. Raises InvalidTask: which file, which key, what to do."""
    bundle = bundle_of(folder)
    return task_in(bundle, folder), bundle


def task_in(bundle: Bundle, folder: Path) -> Task:
    """The task of files that were read from `folder`, now or long ago. Raises InvalidTask."""
    file = folder / FILE
    if FILE not in bundle.files:
        raise InvalidTask(f"{file}: there is none; make a task with: assay task new {folder}")
    try:
        return task_of(SHAPE.decode(bundle.files[FILE]), folder, bundle)
    except Mistake as mistake:
        raise InvalidTask(f"{file}: {mistake}") from mistake
