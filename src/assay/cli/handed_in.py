"""What somebody hands in on the command line: files, and answers to questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from assay.domain.errors import InvalidInput, InvalidSubmission
from assay.grading.native import NativeTask, content_of
from assay.grading.offered import Content, File, Given, Offered, ShownPart
from assay.grading.recorded import recorded_of, right_answers
from assay.grading.trials.submissions import reference

_CHOICES: Final = ("choice", "multiple_choice")
_ANSWERED: Final = ("match", *_CHOICES)


def content_in(
    task: Offered, files: Sequence[Path], answers: Sequence[str], inputs: Sequence[str]
) -> Content:
    """What is to be graded; of a task of Assay's own, without anything, its reference solution.

    Raises InvalidInput, InvalidSubmission.
    """
    if isinstance(task, NativeTask) and not files and not answers:
        right = right_answers(task.task, recorded_of(task.task, task.bundle))
        return content_of(reference(task.task, right))
    parts = {part.id: part for part in task.shown(None).parts}
    named = _of_native(task, files) if isinstance(task, NativeTask) else _of_parts(parts, files)
    return task.accept(
        Given(
            files=dict(named),
            answers=dict(_answer(parts, text) for text in answers),
            inputs=dict(_pair(text, "--input", "NAME=VALUE") for text in inputs),
        )
    )


def _of_native(task: NativeTask, files: Sequence[Path]) -> Iterator[tuple[str, File]]:
    wanted = (*task.task.files, *task.task.optional)
    for path in files:
        if path.is_dir():
            found = {name: path / name for name in wanted if (path / name).is_file()}
        else:
            found = {_wanted(wanted, path): path}
        for name, file in found.items():
            yield name, File(content=file.read_bytes())


def _wanted(wanted: Sequence[str], path: Path) -> str:
    """As which of the task's files: of this name, or the only one that there is."""
    named = [name for name in wanted if Path(name).name == path.name]
    if len(named) == 1:
        return named[0]
    return wanted[0] if len(wanted) == 1 else path.name


def _of_parts(parts: dict[str, ShownPart], files: Sequence[Path]) -> Iterator[tuple[str, File]]:
    """Of INGInious: a file is called after its problem, or there is only one that it can be for."""
    for path in files:
        if path.is_dir():
            inside = [each for each in sorted(path.iterdir()) if each.is_file()]
            found = {name: each for each in inside if (name := _problem(parts, each))}
        else:
            found = {_problem(parts, path) or _only(parts, path): path}
        for name, file in found.items():
            yield name, File(content=file.read_bytes(), name=file.name)


def _problem(parts: dict[str, ShownPart], path: Path) -> str:
    return next((name for name in (path.name, path.stem) if name in parts), "")


def _only(parts: dict[str, ShownPart], path: Path) -> str:
    asked = [part.id for part in parts.values() if part.kind not in _ANSWERED]
    if len(asked) == 1:
        return asked[0]
    raise InvalidSubmission(
        f"{path.name}: for which of {', '.join(asked) or 'no problems'}? Call it after that, or"
        " give texts by --answer"
    )


def _answer(parts: dict[str, ShownPart], text: str) -> tuple[str, object]:
    name, answer = _pair(text, "--answer", "PART=ANSWER")
    pieces = answer.split(",")
    is_choice = name in parts and parts[name].kind in _CHOICES
    if is_choice and all(piece.strip().isdigit() for piece in pieces):
        return name, [int(piece) for piece in pieces]
    return name, answer


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InvalidInput(f"{option} {text}: write {form}")
    return name, value
