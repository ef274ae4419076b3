"""A grading with all that it needs, in one file of JSON: to be done again anywhere."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

from assay.domain.errors import InvalidInput
from assay.grading.kinds import Kinds
from assay.grading.offered import Content, Offered
from assay.grading.record import Record
from assay.grading.tasks import Bundle
from assay.grading.tasks.bundle import digest_of, is_inside

FORMAT: Final = 1


class Complete(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bytes are base64 in JSON. It has hidden tests: it is for teachers."""

    format: int = FORMAT
    task: str
    """Its id."""
    task_files: dict[str, bytes]
    executable: list[str]
    common_files: dict[str, bytes] = {}
    """What a task of INGInious shares with others of its course."""
    files: dict[str, bytes]
    """The learner's."""
    answers: dict[str, str | list[int | str]]
    names: dict[str, str] = {}
    """Of the learner's files, where a task of INGInious asks for one without a name."""
    inputs: dict[str, str] = {}
    learner: str = ""
    submitted_at: float = 0.0
    record: Record
    grade: float | None = None
    verdict: str = ""

    @property
    def content(self) -> Content:
        """What was handed in."""
        return Content(files=self.files, answers=self.answers, names=self.names, inputs=self.inputs)

    def offered(self, kinds: Kinds) -> Offered:
        """The task, as it was. Raises InvalidInput where the files are not the record's."""
        executable = frozenset(self.executable)
        bundle = Bundle(
            files=self.task_files,
            executable=executable,
            digest=digest_of(self.task_files, executable),
        )
        if bundle.digest != self.record.digest:
            raise _damaged(self.record.digest)
        return kinds.version(bundle, self._common, Path(self.task))

    def _common(self, digest: str) -> Bundle:
        if digest_of(self.common_files, ()) != digest:
            raise _damaged(digest)
        return Bundle(files=self.common_files, digest=digest)


def _damaged(digest: str) -> InvalidInput:
    return InvalidInput(
        f"this record is damaged: the task's files are not those of its digest {digest[:80]}"
    )


def complete(
    task: Offered,
    content: Content,
    record: Record,
    *,
    learner: str,
    submitted_at: float,
    grade: float | None,
    verdict: str,
) -> Complete:
    """All of it."""
    bundle, *more = task.bundles
    return Complete(
        task=task.id,
        task_files=dict(bundle.files),
        executable=sorted(bundle.executable),
        common_files={name: file for each in more for name, file in each.files.items()},
        files=content.files,
        answers=content.answers,
        names=content.names,
        inputs=content.inputs,
        learner=learner,
        submitted_at=submitted_at,
        record=record,
        grade=grade,
        verdict=verdict,
    )


def read(content: bytes) -> Complete:
    """The reverse. Raises InvalidInput: what it lacks."""
    try:
        found = msgspec.json.decode(content, type=Complete)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"this is no record of a grading: {error}") from error
    if found.format != FORMAT:
        raise InvalidInput(f"this record has the format {found.format}: use a newer Assay")
    names = (*found.task_files, *found.common_files, *found.files)
    wrong = [name for name in names if not is_inside(name.removesuffix("/"))]
    if wrong or PurePosixPath(found.task).name != found.task:
        raise InvalidInput("this record names files outside of its folder")
    return found
