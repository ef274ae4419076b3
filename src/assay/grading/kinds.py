"""Which kind of task or course a folder holds: the only place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from assay.domain.errors import InvalidTask
from assay.grading.inginious import Environments, is_course, is_task
from assay.grading.inginious.offered import ServedTask, served_course
from assay.grading.inginious.versions import is_version
from assay.grading.native import NativeTask, native_course
from assay.grading.offered import Offered, OfferedCourse
from assay.grading.tasks import FILE, Bundle
from assay.grading.tasks.course import FILE as COURSE_FILE


@dataclass(frozen=True, kw_only=True, slots=True)
class Kinds:
    """Reads folders, and what was kept of them."""

    environments: Environments = field(default_factory=Environments)
    """What stands for the containers of INGInious."""

    def course(self, folder: Path) -> OfferedCourse:
        """That of a folder. Raises InvalidTask, and Unavailable where a library is missing."""
        if (folder / COURSE_FILE).is_file():
            return native_course(folder)
        if is_course(folder):
            return served_course(folder, self.environments)
        inside = [each.name for each in _folders(folder) if is_course(each)]
        hint = f"; give those in it: {', '.join(sorted(inside)[:5])}" if inside else ""
        raise InvalidTask(
            f"{folder}: a course is a folder with {COURSE_FILE}, or of INGInious with"
            f" course.yaml{hint}"
        )

    def task(self, folder: Path) -> Offered:
        """That of a folder. Raises InvalidTask, and Unavailable where a library is missing."""
        if not (folder / FILE).is_file() and is_task(folder):
            return ServedTask.in_folder(folder, self.environments)
        return NativeTask.in_folder(folder)

    def version(self, bundle: Bundle, get: Callable[[str], Bundle], folder: Path) -> Offered:
        """One as it was; `get` finds other bundles by their digests. Raises InvalidTask."""
        if FILE not in bundle.files and is_version(bundle):
            return ServedTask.of(bundle, get, folder, self.environments)
        return NativeTask.of(bundle, folder)


def holds_course(folder: Path) -> bool:
    """Whether a folder is a course of any kind."""
    return (folder / COURSE_FILE).is_file() or is_course(folder)


def _folders(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_dir()]
    except OSError as error:
        raise InvalidTask(f"{folder}: {error.strerror}; a course is a folder") from error
