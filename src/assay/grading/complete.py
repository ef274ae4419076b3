"""A grading with all that it needs, in one file of JSON: to be done again anywhere."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

import msgspec

from assay.domain.errors import InvalidInput
from assay.grading.record import Record
from assay.grading.tasks import Bundle, Submission
from assay.grading.tasks.bundle import digest_of, is_inside
from assay.grading.tasks.submission import Answer

FORMAT: Final = 1


class Complete(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Bytes are base64 in JSON. It has hidden tests: it is for teachers."""

    format: int = FORMAT
    task: str
    """Its id."""
    task_files: dict[str, bytes]
    executable: list[str]
    files: dict[str, bytes]
    """The learner's."""
    answers: dict[str, str | list[int]]
    record: Record
    grade: float | None = None
    verdict: str = ""

    @property
    def bundle(self) -> Bundle:
        """The version of the task. Raises InvalidInput where the files are not the record's."""
        executable = frozenset(self.executable)
        digest = digest_of(self.task_files, executable)
        if digest != self.record.digest:
            raise InvalidInput(
                "this record is damaged: the task's files are not those of its digest"
                f" {self.record.digest[:80]}"
            )
        return Bundle(files=self.task_files, executable=executable, digest=digest)


def complete(
    task: str,
    bundle: Bundle,
    submission: Submission,
    record: Record,
    *,
    grade: float | None,
    verdict: str,
) -> Complete:
    """All of it."""
    return Complete(
        task=task,
        task_files=dict(bundle.files),
        executable=sorted(bundle.executable),
        files=dict(submission.files),
        answers={name: _answer(answer) for name, answer in submission.answers.items()},
        record=record,
        grade=grade,
        verdict=verdict,
    )


def _answer(answer: Answer) -> str | list[int]:
    return answer if isinstance(answer, str) else list(answer)


def read(content: bytes) -> Complete:
    """The reverse. Raises InvalidInput: what it lacks."""
    try:
        found = msgspec.json.decode(content, type=Complete)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"this is no record of a grading: {error}") from error
    if found.format != FORMAT:
        raise InvalidInput(f"this record has the format {found.format}: use a newer Assay")
    names = (*found.task_files, *found.files)
    wrong = [name for name in names if not is_inside(name)]
    if wrong or PurePosixPath(found.task).name != found.task:
        raise InvalidInput("this record names files outside of its folder")
    return found
