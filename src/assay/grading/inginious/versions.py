"""A task of INGInious as bundles, so that it is graded as it was when something was handed in.

    task      task/NAME for each of its files, and `common`: the digest of the other bundle
    common    common/NAME for each file of the course's `$common`, which many tasks share

A folder is a name that ends in a slash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from assay.agent.entries import Entry, EntryKind
from assay.domain.errors import InvalidTask
from assay.grading.inginious.containers import Files
from assay.grading.inginious.tasks import FILES
from assay.grading.tasks.bundle import Bundle, digest_of

_TASK: Final = "task/"
_POINTER: Final = "common"


def is_version(bundle: Bundle) -> bool:
    """Whether it is one of these; tasks of other kinds have a file of their own at the top."""
    return _POINTER in bundle.files and any(_TASK + name in bundle.files for name in FILES)


def common_bundle(in_course: Iterable[Entry]) -> Bundle:
    """What tasks of a course share."""
    return _bundle(_named(in_course, ""))


def bundles_of(in_task: Iterable[Entry], common: Bundle) -> tuple[Bundle, Bundle]:
    """The task's, whose digest stands for both, and the other one."""
    return _bundle({**_named(in_task, _TASK), _POINTER: common.digest.encode()}), common


def common_of(task: Bundle, get: Callable[[str], Bundle]) -> Bundle:
    """The other one; `get` finds a bundle by its digest."""
    return get(task.files[_POINTER].decode(errors="replace"))


def files_of(task: Bundle, common: Bundle) -> Files:
    """What a grader finds."""
    return Files(in_task=_entries(task.files, _TASK), in_course=_entries(common.files, ""))


def document_in_bundle(task: Bundle) -> tuple[str, bytes]:
    """The name and the content of its task.yaml, or task.json. Raises InvalidTask."""
    for name in FILES:
        if _TASK + name in task.files:
            return name, task.files[_TASK + name]
    raise InvalidTask(f"there is no {' or '.join(FILES)}")


def _named(entries: Iterable[Entry], under: str) -> dict[str, bytes]:
    return {f"{under}{_name(each)}": each.content or b"" for each in entries}


def _name(entry: Entry) -> str:
    if not entry.name.isprintable():
        shown = ascii(entry.name[:80])
        raise InvalidTask(f"{shown}: a file whose name can't be printed; rename it, or remove it")
    return entry.name + ("/" if entry.kind is EntryKind.FOLDER else "")


def _bundle(files: dict[str, bytes]) -> Bundle:
    return Bundle(files=files, digest=digest_of(files, ()))


def _entries(files: Mapping[str, bytes], under: str) -> tuple[Entry, ...]:
    inside = sorted(name for name in files if name.startswith(under))  # folders before their files
    return tuple(_entry(name.removeprefix(under), files[name]) for name in inside)


def _entry(name: str, content: bytes) -> Entry:
    if name.endswith("/"):
        return Entry(name=name.rstrip("/"), kind=EntryKind.FOLDER, mode=0o755)
    return Entry(name=name, mode=0o755, content=content)
