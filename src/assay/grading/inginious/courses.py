"""course.yaml -> values; what Assay has no use for is listed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import InvalidTask
from assay.grading.inginious import notes
from assay.grading.inginious.documents import encodable, read_document, require_printable
from assay.grading.inginious.tasks import InginiousTask, document_in, is_task

FILES: Final = ("course.yaml", "course.json")
_KNOWN: Final = frozenset(
    {
        "name", "description", "admins", "tutors", "accessible", "registration",
        "registration_password", "registration_ac", "registration_ac_list",
        "registration_ac_accept", "allow_unregister", "allow_preview", "groups_student_choice",
        "nofrontend", "is_lti", "lti_url", "lti_keys", "lti_secrets", "lti_config",
        "lti_send_back_grade", "archived", "archive_date", "tags", "task_dispenser",
        "dispenser_data", "use_classrooms", "fs_provider", "toc", "welcome_screen",
    }
)  # fmt: skip
_PER_TASK: Final = {
    "weight": "weight",
    "submission_limit": "submission_limit",
    "group_submission": "groups",
    "evaluation_mode": "evaluate",
    "no_stored_submissions": "stored_submissions",
    "accessibility": "accessible",
    "categories": "categories",
}
"""What a dispenser says of a task since 0.8, and how task.yaml calls it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """A course, and the tasks in its folder."""

    id: str
    folder: Path
    name: str
    description: str
    admins: tuple[str, ...]
    tutors: tuple[str, ...]
    accessible: bool | str
    """Or when: "START/END", "START/SOFT END/END"."""
    tasks: tuple[Path, ...]
    of_tasks: Mapping[str, Mapping[str, Any]]
    """What the course says of a task by its name, in the words of task.yaml."""
    closed_unless_said: bool
    """Since 0.8: tasks of which the course says nothing are closed."""
    sections: tuple[tuple[str, tuple[str, ...]], ...]
    """Titles, with the tasks in each, in order."""
    settings: Mapping[str, Any]
    """All the rest, as it is written: registration, LTI, tags."""
    remarks: tuple[str, ...] = ()

    @property
    def order(self) -> tuple[str, ...]:
        """Tasks in the order of the sections."""
        return tuple(dict.fromkeys(name for _, names in self.sections for name in names))

    def settings_of(self, task: InginiousTask) -> Mapping[str, Any]:
        """Of a task: since 0.8 the course says them, before its own file did."""
        said = self.of_tasks.get(task.id, {})
        closed = {"accessible": said.get("accessible", False)} if self.closed_unless_said else {}
        return {**task.settings, **said, **closed}


def is_course(folder: Path) -> bool:
    """Whether a folder holds a course of INGInious."""
    return any((folder / name).is_file() for name in FILES)


def load_course(folder: Path) -> Course:
    """Read a course. Raises InvalidTask, and Unavailable."""
    require_printable(folder.absolute().name, "a course")
    folder = folder.resolve()
    require_printable(folder.name, "a course")
    document = read_document(document_in(folder, FILES))
    data = _dispensed(document)
    of_tasks = _of_tasks(data)
    return Course(
        id=folder.name,
        folder=folder,
        name=str(document.get("name") or folder.name),
        description=str(document.get("description") or ""),
        admins=_names(document.get("admins")),
        tutors=_names(document.get("tutors")),
        accessible=_accessible(document.get("accessible", True), folder),
        tasks=tuple(sorted(each for each in folder.iterdir() if is_task(each))),
        of_tasks=of_tasks,
        closed_unless_said=isinstance(data.get("config"), dict) and bool(data["config"]),
        sections=tuple(_sections(data.get("toc"))),
        settings={
            key: value
            for key, value in document.items()
            if key in _KNOWN - {"name", "description", "admins", "tutors", "accessible"}
        },
        remarks=(
            *(f"{key} is not known" for key in document if key not in _KNOWN),
            *notes.of_course(document),
            *(each for name, said in of_tasks.items() for each in notes.of_dispenser(name, said)),
        ),
    )


def _dispensed(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """As since 0.8. In 0.7 it was the sections alone, and before that a table of contents."""
    said = document.get("dispenser_data")
    if isinstance(said, dict):
        return said
    sections = said if isinstance(said, list) else document.get("toc")
    return {"toc": sections} if isinstance(sections, list) else {}


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def _accessible(value: object, folder: Path) -> bool | str:
    if value is None or isinstance(value, bool | str):
        return True if value is None else value
    where = encodable(str(folder))
    raise InvalidTask(f"{where}: accessible of the course is true, false, or from when to when")


def _of_tasks(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    config = data.get("config")
    found: dict[str, dict[str, Any]] = {}
    for task, said in config.items() if isinstance(config, dict) else ():
        if isinstance(said, dict):
            found[str(task)] = {
                _PER_TASK.get(str(key), str(key)): value for key, value in said.items()
            }
    return found


def _sections(toc: object) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    given = [each for each in toc if isinstance(each, dict)] if isinstance(toc, list) else []
    for each in sorted(given, key=lambda each: _rank(each.get("rank"))):
        tasks = each.get("tasks_list")
        if isinstance(tasks, dict):
            tasks = [name for name, _ in sorted(tasks.items(), key=lambda each: _rank(each[1]))]
        found.append((str(each.get("title") or ""), _names(tasks)))
        found += _sections(each.get("sections_list"))
    return found


def _rank(said: object) -> float:
    """Where it stands; what says nothing of that stands as it is written, first."""
    try:
        return float(str(said))
    except ValueError:
        return 0.0
