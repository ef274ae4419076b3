"""What goes into the sandbox of a grader: the task's folder, $common, modules for its Python."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from assay.agent.entries import Entry, EntryKind
from assay.domain.errors import InvalidTask
from assay.grading.inginious.tasks import COMMON, InginiousTask
from assay.grading.script.folders import entries_of
from assay.grading.script.kit import FOLDER, Kit, modules_in

TASK: Final = "/task"
COURSE: Final = "/course"
_CONTAINER: Final = Path(__file__).parent / "container"
_RUN: Final = (
    ("run", ()),
    ("run.py", (f"{FOLDER}/bin/inginious-ipython",)),
    ("run.py3", (f"{FOLDER}/bin/inginious-ipython",)),
    ("run.sh", ("/bin/bash",)),
)
_FIRST_LINE: Final = 256
"""Bytes of it that Linux looks at."""
_OWN_INTERPRETER: Final = re.compile(
    rb"#![ \t]*/(?:usr/)?(?:local/)?bin/inginious-ipython[ \t\r]*\n"
)
"""INGInious' images have it there; a sandbox has it among the grader's commands."""
_TEMPLATES: Final = (b"feedback-msg-tpl", b"set_feedback_from_tpl")
_TEMPLATE_ENGINE: Final = ("jinja2", "markupsafe")


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What a grader finds."""

    in_task: tuple[Entry, ...] = field(repr=False)
    in_course: tuple[Entry, ...] = field(repr=False)


def read_files(task: InginiousTask) -> Files:
    """Of the folders as they are now. Raises InvalidTask."""
    return Files(in_task=task_entries(task), in_course=common_entries(task.course))


def task_entries(task: InginiousTask) -> tuple[Entry, ...]:
    """What /task holds. Raises InvalidTask."""
    found = entries_of(task.folder, within=task.course)
    if not any(each.name == "student" for each in found):
        found.append(Entry(name="student", kind=EntryKind.FOLDER, mode=0o755))
    return tuple(found)


def common_entries(course: Path) -> tuple[Entry, ...]:
    """What /course holds: `common`, with what tasks of a course share. Raises InvalidTask."""
    folder = course / COMMON
    found = entries_of(folder, within=course) if folder.is_dir() else []
    named = [_under("common", each) for each in found]
    made = {each.name for each in named}
    missing = [name for name in ("common", "common/student") if name not in made]
    return (*(Entry(name=name, kind=EntryKind.FOLDER, mode=0o755) for name in missing), *named)


def _under(folder: str, entry: Entry) -> Entry:
    return Entry(
        name=f"{folder}/{entry.name}", kind=entry.kind, mode=entry.mode, content=entry.content
    )


def run_command(
    task: InginiousTask, in_task: Collection[Entry], in_course: Collection[Entry]
) -> tuple[str, ...]:
    """What runs the grader: that of task.yaml, else a file `run…` of the task, else of the course.

    Raises InvalidTask where there is none.
    """
    if task.run_command:
        return task.run_command
    for place, entries in ((TASK, in_task), (COURSE + "/common", in_course)):
        files = {
            each.name.removeprefix("common/"): each.content or b""
            for each in entries
            if each.kind is EntryKind.FILE
        }
        for name, interpreter in _RUN:
            if name in files:
                own = (f"{FOLDER}/bin/inginious-ipython",)
                first = own if _OWN_INTERPRETER.match(files[name]) else interpreter
                return (*first, f"{place}/{name}")
    wanted = ", ".join(name for name, _ in _RUN)
    raise InvalidTask(
        f"{task.folder} has no grader: none of {wanted} is there or in $common. One that an image"
        " has in /course isn't used, nor one for which only an image knows the interpreter: copy"
        " it into the task or $common, with a first line such as #!/usr/bin/env php, as `run`"
    )


def program_of(
    argv: Sequence[str], in_task: Collection[Entry], in_course: Collection[Entry]
) -> str:
    """What has to be in the sandbox for a grader to run: that of its first line, else itself."""
    for place, entries in ((TASK, in_task), (COURSE, in_course)):
        for each in entries:
            if argv[0] == f"{place}/{each.name}" and (each.content or b"")[:2] == b"#!":
                line = (each.content or b"")[2:_FIRST_LINE].partition(b"\n")[0]
                return line.decode(errors="replace").strip()
    return argv[0]


def kit_of(entries: Collection[Entry]) -> Kit:
    """Commands and modules; and an engine of templates, for a grader that mentions them."""
    kit = _kit()
    mentions = mention(entries, *_TEMPLATES)
    return Kit(modules={**kit.modules, **_engine()}, scripts=kit.scripts) if mentions else kit


def mention(entries: Collection[Entry], *names: bytes) -> bool:
    """Whether one of the names is in one of the files."""
    return any(name in (each.content or b"") for each in entries for name in names)


@lru_cache(maxsize=1)
def _kit() -> Kit:
    modules: dict[str, bytes] = {}
    for name in ("inginious_container_api", "inginious"):
        modules |= modules_in(_CONTAINER / name, under=f"{name}/")
    scripts = {path.name: path.read_bytes() for path in sorted((_CONTAINER / "scripts").iterdir())}
    return Kit(modules=modules, scripts=scripts)


@lru_cache(maxsize=1)
def _engine() -> dict[str, bytes]:
    """Jinja2 of this machine's Python, where there is one: it needs nothing but Python itself.

    Templates are rendered in the sandbox, by whoever wrote them and within its limits; an image's
    own Jinja2 would come later in the path.
    """
    found: dict[str, bytes] = {}
    for name in _TEMPLATE_ENGINE:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            return {}
        found |= modules_in(Path(spec.submodule_search_locations[0]), under=f"{name}/")
    return found
