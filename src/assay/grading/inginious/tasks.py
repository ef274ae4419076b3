"""task.yaml -> values, of every version from 0.6 on; what is not known is listed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import InvalidTask
from assay.domain.limits import MIB
from assay.grading.inginious import notes
from assay.grading.inginious.documents import (
    encodable,
    read_document,
    require_printable,
    to_document,
)
from assay.grading.inginious.problems import NAMES, Problem, to_problem

FILES: Final = ("task.yaml", "task.json")
COMMON: Final = "$common"
_TIME: Final = 20.0
_MEMORY_MB: Final = 1024
_LEAST_MB: Final = 20
_MOST_SECONDS: Final = 86400.0
_KNOWN: Final = frozenset(
    {
        "name", "author", "contact_url", "context", "environment", "environment_id",
        "environment_type", "environment_parameters", "limits", "network_grading", "run_cmd",
        "problems", "input_random", "regenerate_input_random", "accessible", "weight", "groups",
        "evaluate", "submission_limit", "stored_submissions", "categories", "order", "tags", "file",
        "responseIsHTML", "contextIsHTML",
    }
)  # fmt: skip
_SETTINGS: Final = (
    "accessible", "weight", "groups", "evaluate", "submission_limit", "tags", "stored_submissions",
    "categories", "order",
)  # fmt: skip
_TYPES: Final = ("docker", "kata", "nvidia")
_KNOWN_PARAMETERS: Final = frozenset({"limits", "network_grading", "run_cmd", "ssh_allowed"})
_KNOWN_LIMITS: Final = frozenset({"time", "hard_time", "memory", "disk", "output"})


@dataclass(frozen=True, kw_only=True, slots=True)
class InginiousTask:
    """A task and where it lies. Everything about who may do it when is in `settings`."""

    id: str
    folder: Path
    course: Path
    """Whose `$common` it shares."""
    name: str
    author: str
    contact_url: str
    context: str
    """What learners read, in reStructuredText."""
    environment_type: str
    environment: str
    """The name of a container."""
    cpu_seconds: float
    wall_seconds: float
    memory_bytes: int
    network: bool
    run_command: tuple[str, ...]
    problems: tuple[Problem, ...]
    randoms: int
    """How many random numbers it is given."""
    fresh_randoms: bool
    """Whether for each submission, and not once for each learner."""
    hypertext: bool
    """Whether its grader says what it says in HTML."""
    settings: Mapping[str, Any]
    """Weight, accessibility, submission limits, tags and the like, as they are written."""
    remarks: tuple[str, ...] = ()
    """What of the file is not known, or not done: for whoever wonders at a result."""
    notes: tuple[str, ...] = ()
    """What learners don't see of its texts."""

    @property
    def is_answered_here(self) -> bool:
        """Whether it needs no sandbox."""
        return self.environment_type == "mcq"


def is_task(folder: Path) -> bool:
    """Whether a folder holds a task of INGInious."""
    return any((folder / name).is_file() for name in FILES)


def document_in(folder: Path, names: Sequence[str]) -> Path:
    """The first of these files that is there. Raises InvalidTask."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InvalidTask(f"{encodable(str(folder))}: there is no {' or '.join(names)}")


def tasks_in(folder: Path) -> list[Path]:
    """The folders of tasks: this one, or else those in it, or in the courses in it."""
    if is_task(folder):
        return [folder]
    found = sorted({path.parent for name in FILES for path in folder.rglob(name)})
    hidden = {".git", COMMON}
    return [path for path in found if not hidden & set(path.relative_to(folder).parts)]


def load_task(folder: Path, *, course: Path | None = None) -> InginiousTask:
    """Read a task. Raises InvalidTask with the place and what is wrong, and Unavailable."""
    folder = folder.resolve()
    require_printable(folder.name, "a task")
    file = document_in(folder, FILES)
    return to_task(
        read_document(file),
        folder=folder,
        course=course.resolve() if course else _course_of(folder),
        where=encodable(str(file)),
        system_files=(folder / "systemfiles").is_dir(),
    )


def task_of(content: bytes, *, folder: Path, name: str) -> InginiousTask:
    """A task of the content of its file, which may be gone by now. Raises as `load_task`."""
    require_printable(folder.name, "a task")
    where = encodable(str(folder / name))
    written = to_document(content, where)
    return to_task(written, folder=folder, course=folder.parent, where=where, system_files=False)


def to_task(
    written: Mapping[str, Any], *, folder: Path, course: Path, where: str, system_files: bool
) -> InginiousTask:
    """A task of its document. Raises InvalidTask for what is wrong, and for what is not done."""
    document = _migrated(written)
    name = folder.name
    problems, remarks = _problems(document, where)
    parameters = _mapping(document.get("environment_parameters"), where)
    limits = _mapping(parameters.get("limits"), where)
    remarks += _unknown("", document, _KNOWN) + _unknown(
        "environment_parameters.", parameters, _KNOWN_PARAMETERS
    )
    remarks += _unknown("limits.", limits, _KNOWN_LIMITS)
    if not NAMES.fullmatch(name):
        remarks.append(f"{name!r} is no name that INGInious would take for a task")
    kind = _text(document.get("environment_type")) or "docker"
    _require_done(kind, where, system_files=system_files)
    remarks += notes.of_environment(kind, parameters)
    cpu = _positive(limits.get("time"), _TIME, f"{where}: limits.time")
    longest = min(3 * cpu, _MOST_SECONDS)
    memory = int(_positive(limits.get("memory"), _MEMORY_MB, f"{where}: limits.memory"))
    command = _text(parameters.get("run_cmd"))
    return InginiousTask(
        id=name,
        folder=folder,
        course=course,
        name=_text(document.get("name")) or name,
        author=_text(document.get("author")),
        contact_url=_text(document.get("contact_url")),
        context=_text(document.get("context")),
        environment_type=kind,
        environment=_text(document.get("environment_id")) or "default",
        cpu_seconds=cpu,
        wall_seconds=_positive(limits.get("hard_time"), longest, f"{where}: limits.hard_time"),
        memory_bytes=max(_LEAST_MB, memory) * MIB,
        network=_is_true(parameters.get("network_grading")),
        run_command=tuple(command.split(" ")) if command else (),
        problems=problems,
        randoms=min(
            10_000, int(_positive(document.get("input_random"), 0, f"{where}: input_random"))
        ),
        fresh_randoms=_is_true(document.get("regenerate_input_random")),
        hypertext=_is_true(document.get("responseIsHTML")),
        settings={key: document[key] for key in _SETTINGS if key in document},
        remarks=tuple(remarks),
        notes=tuple(notes.of_texts(_texts(document, problems))),
    )


def _texts(document: Mapping[str, Any], problems: Sequence[Problem]) -> list[tuple[str, str]]:
    """What learners read, and where it is written."""
    found = [("context", _text(document.get("context")))]
    for each in problems:
        said = "\n".join((each.header, *(choice.text for choice in each.choices)))
        found.append((f"problems.{each.id}", said))
    return found


def _require_done(kind: str, where: str, *, system_files: bool) -> None:
    if kind != "mcq" and kind.removesuffix("-ssh") not in _TYPES:
        raise InvalidTask(f"{where}: environment_type: {kind[:80]!r} is none of INGInious' types")
    if system_files:
        raise InvalidTask(
            f"{where}: systemfiles/ can't be done: nobody changes /etc of a sandbox. Put them into"
            " the image of the environment, and remove the folder"
        )


def _migrated(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """As since 0.7: the environment's parameters are in a mapping of their own."""
    if "environment" not in document:
        return document
    name = str(document["environment"])
    return {
        **document,
        "environment_id": name,
        "environment_type": "mcq" if name == "mcq" else "docker",
        "environment_parameters": {
            key: document[key]
            for key in ("limits", "run_cmd", "network_grading")
            if key in document
        },
    }


def _problems(document: Mapping[str, Any], where: str) -> tuple[tuple[Problem, ...], list[str]]:
    given = document.get("problems")
    if not isinstance(given, dict):
        raise InvalidTask(f"{where}: there are no problems")
    made = [to_problem(str(name), content, where) for name, content in given.items()]
    return tuple(each for each, _ in made), [text for _, texts in made for text in texts]


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        raise InvalidTask(f"{where}: limits and environment_parameters must be mappings")
    return {str(key): each for key, each in value.items()}


def _unknown(prefix: str, found: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    return [f"{prefix}{name} is not known" for name in found if name not in known]


def _course_of(folder: Path) -> Path:
    """The nearest folder above that is a course, or else the one above."""
    for above in folder.parents[:3]:
        names = ("course.yaml", "course.json", COMMON)
        if any((above / name).exists() for name in names):
            return above
    return folder.parent


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _positive(value: object, otherwise: float, where: str) -> float:
    """`otherwise` for nothing, and what is not above 0. Raises InvalidTask for no number."""
    if value is None or value == "":
        return otherwise
    try:
        number = float(str(value))
    except ValueError as error:
        raise InvalidTask(f"{where}: {str(value)[:80]!r} is no number") from error
    return min(number, _MOST_SECONDS) if 0 < number < float("inf") else otherwise


def _is_true(value: object) -> bool:
    return str(value).lower() in ("true", "yes", "on", "1")
