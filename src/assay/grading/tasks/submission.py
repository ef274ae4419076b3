"""What a learner hands in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from assay.domain.errors import InvalidSubmission
from assay.domain.limits import MIB
from assay.grading.tasks.bundle import is_inside
from assay.grading.tasks.model import Choice, Match, Part, Task

BYTES_MOST: Final = 4 * MIB
FILES_MOST: Final = 100
ANSWER_MOST: Final = 10_000
"""Characters of one answer."""

Answer = str | tuple[int, ...]
"""A text for a Match, the numbers of what is chosen, from 0, for a Choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Submission:
    """Files and answers of one learner for one task."""

    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    answers: Mapping[str, Answer] = field(default_factory=dict, repr=False)
    """By the ids of parts."""


def submission_of(
    task: Task, files: Mapping[str, bytes], answers: Mapping[str, object]
) -> Submission:
    """Make a submission for a task. Raises InvalidSubmission, in words for the learner."""
    _require_files(task, files)
    parts = {part.id: part for part in task.parts if isinstance(part, Choice | Match)}
    for name in answers:
        if name not in parts:
            raise InvalidSubmission(f"the task has no question {name[:80]!r}")
    return Submission(
        files=dict(files),
        answers={name: _answer(parts[name], value) for name, value in answers.items()},
    )


def _require_files(task: Task, files: Mapping[str, bytes]) -> None:
    allowed = {*task.files, *task.optional}
    for name in files:
        if not is_inside(name) or name not in allowed:
            wanted = ", ".join((*task.files, *task.optional)) or "no files"
            raise InvalidSubmission(f"{name[:80]!r} is not asked for: the task wants {wanted}")
    missing = [name for name in task.files if name not in files]
    if missing:
        raise InvalidSubmission(f"{', '.join(missing)} is missing: hand in {', '.join(task.files)}")
    if sum(map(len, files.values())) > BYTES_MOST or len(files) > FILES_MOST:
        raise InvalidSubmission(f"a submission has at most {BYTES_MOST // MIB} MiB")


def _answer(part: Part, value: object) -> Answer:
    if isinstance(part, Match):
        if not isinstance(value, str) or len(value) > ANSWER_MOST:
            raise InvalidSubmission(f"the answer to {part.id} is a text")
        return value
    assert isinstance(part, Choice)
    numbers = value if isinstance(value, list | tuple) else (value,)
    if not all(type(number) is int and 0 <= number < len(part.choices) for number in numbers):
        most = len(part.choices) - 1
        raise InvalidSubmission(f"the answer to {part.id} is a list of numbers from 0 to {most}")
    if len(numbers) > 1 and not part.several:
        raise InvalidSubmission(f"one answer to {part.id} can be chosen")
    return tuple(sorted(set(numbers)))
