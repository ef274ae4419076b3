"""What a task asks for, and what learners hand in; multiple choice and matches are graded here.

A problem of a kind that only a plugin knows is a text for the grader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from assay.domain.errors import InvalidInput, InvalidTask
from assay.domain.limits import MIB
from assay.grading.script.kit import Answer

NAMES: Final = re.compile(r"[a-z0-9\-._]+", re.IGNORECASE)
_KINDS: Final = {"code", "code_single_line", "code_file", "file", "match", "multiple_choice"}
_FILES: Final = ("file", "code_file")
_EXTENSIONS: Final = (".c", ".cpp", ".java", ".oz", ".zip", ".tar.gz", ".tar.bz2", ".txt")
_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "": frozenset({"type", "name", "header", "headerIsHTML"}),
    "code": frozenset({"language", "default", "offset", "optional"}),
    "code_single_line": frozenset({"language", "default", "offset", "optional"}),
    "file": frozenset({"allowed_exts", "max_size", "optional"}),
    "code_file": frozenset({"allowed_exts", "max_size", "language", "optional"}),
    "match": frozenset({"answer", "centralize"}),
    "multiple_choice": frozenset(
        {"choices", "multiple", "limit", "unshuffle", "centralize", "error_message"}
        | {"success_message", "optional"}
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One of those that a learner can tick."""

    index: int
    text: str
    valid: bool = False
    feedback: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One part of a task; `kind` says which of the fields mean something."""

    id: str
    kind: str
    name: str = ""
    header: str = ""
    language: str = "plain"
    default: str = ""
    offset: int | None = None
    optional: bool = False
    allowed_extensions: tuple[str, ...] = _EXTENSIONS
    most_bytes: int = MIB
    answer: str = ""
    choices: tuple[Choice, ...] = ()
    multiple: bool = False
    limit: int = 0
    unshuffle: bool = False
    centralize: bool = False
    error_message: str | None = None
    success_message: str | None = None

    @property
    def is_answered_here(self) -> bool:
        """Whether no grader has to look at it."""
        return self.kind in ("match", "multiple_choice")


def to_problem(name: str, content: object, where: str) -> tuple[Problem, list[str]]:
    """One of task.yaml, with remarks. Raises InvalidTask."""
    if not NAMES.fullmatch(name):
        raise InvalidTask(f"{where}: a problem cannot be called {name[:80]!r}")
    if not isinstance(content, dict):
        raise InvalidTask(f"{where}: the problem {name} must be a mapping")
    kind = str(content.get("type", "")).replace("-", "_")
    fields: dict[str, Any] = {str(key): value for key, value in content.items()}
    remarks = [] if kind in _KINDS else [f"the problem {name} is of the unknown kind {kind!r}"]
    known = _FIELDS[""] | _FIELDS.get(kind, frozenset(fields))
    remarks += [f"problems.{name}.{key} is not known" for key in fields if key not in known]
    problem = Problem(
        id=name,
        kind=kind,
        name=_text(fields.get("name")),
        header=_text(fields.get("header")),
        language=_text(fields.get("language")) or "plain",
        default=_text(fields.get("default")),
        offset=_number(fields.get("offset")),
        optional=bool(fields.get("optional")),
        allowed_extensions=_extensions(fields.get("allowed_exts")),
        most_bytes=_number(fields.get("max_size")) or MIB,
        answer=_text(fields.get("answer")),
        choices=_choices(name, fields, where) if kind == "multiple_choice" else (),
        multiple=bool(fields.get("multiple")),
        limit=_number(fields.get("limit")) or 0,
        unshuffle=bool(fields.get("unshuffle")),
        centralize=bool(fields.get("centralize")),
        error_message=_message(fields.get("error_message")),
        success_message=_message(fields.get("success_message")),
    )
    if kind == "match" and "answer" not in fields:
        raise InvalidTask(f"{where}: the problem {name} has no answer")
    return problem, remarks


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _message(value: object) -> str | None:
    return None if value is None else str(value)


def _number(value: object) -> int | None:
    try:
        found = int(float(str(value)))
    except (ValueError, OverflowError):
        return None
    return found if abs(found) < 2**63 else None


def _extensions(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [each.strip() for each in value.split(",")]
    if not isinstance(value, list) or not value:
        return _EXTENSIONS
    return tuple(str(each) for each in value)


def _choices(name: str, fields: Mapping[str, Any], where: str) -> tuple[Choice, ...]:
    given = fields.get("choices")
    if isinstance(given, dict):
        given = [given[key] for key in sorted(given, key=lambda key: _number(key) or 0)]
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidTask(f"{where}: the choices of the problem {name} must be a list")
    choices = tuple(
        Choice(
            index=index,
            text=_text(each.get("text")),
            valid=bool(each.get("valid")),
            feedback=_message(each.get("feedback")),
        )
        for index, each in enumerate(given)
    )
    if not any(each.valid for each in choices):
        raise InvalidTask(f"{where}: the problem {name} has no choice that is right")
    return choices


def require_answers(problems: Sequence[Problem], answers: Mapping[str, Answer]) -> None:
    """Raise InvalidInput unless there is an answer to each problem that needs one."""
    for problem in problems:
        fault = _fault(problem, answers.get(problem.id))
        if fault:
            raise InvalidInput(f"the answer to {problem.id} {fault}")


def _fault(problem: Problem, answer: Answer) -> str:
    if problem.kind in _FILES:
        if answer is None or answer == "":
            return "" if problem.optional else "is missing"
        return _fault_of_file(problem, answer)
    if problem.kind == "multiple_choice":
        known = {str(each.index) for each in problem.choices}
        if answer is None or any(each not in known for each in _ticked(answer)):
            return "is none of its choices"
        return "" if problem.multiple or len(_ticked(answer)) == 1 else "must be one choice"
    if answer is None:
        return "is missing"
    empty_is_wrong = problem.kind.startswith("code") and not problem.optional
    return "is empty" if empty_is_wrong and answer == "" else ""


def _fault_of_file(problem: Problem, answer: Answer) -> str:
    if not isinstance(answer, tuple):
        return "must be a file"
    name, content = answer
    if not name.endswith(problem.allowed_extensions):
        return f"must be a file whose name ends in {' or '.join(problem.allowed_extensions)}"
    most = problem.most_bytes
    return f"has more than {most:,} bytes" if len(content) > most else ""


def _ticked(answer: Answer) -> list[str]:
    return [str(each) for each in answer] if isinstance(answer, list) else [str(answer)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What an answer to a problem is worth that no grader has to look at."""

    right: bool
    message: str
    mistakes: int = 0
    """Choices that were ticked wrongly, or not at all."""


def check(problem: Problem, answer: Answer) -> Answered:
    """Of a match, or of multiple choice."""
    if problem.kind == "match":
        right = str(answer).strip() == problem.answer.strip()
        said = "" if problem.centralize else "Correct answer" if right else "Wrong answer"
        return Answered(right=right, message=said)
    ticked = set(_ticked(answer))
    wrong = [each for each in problem.choices if each.valid != (str(each.index) in ticked)]
    if not problem.multiple:
        wrong = wrong[:1]
    messages = [each.feedback for each in problem.choices if str(each.index) in ticked]
    return Answered(
        right=not wrong,
        message="\n\n".join(
            each for each in (_heading(problem, right=not wrong), *messages) if each
        ),
        mistakes=len(wrong),
    )


def _heading(problem: Problem, *, right: bool) -> str:
    if right:
        return problem.success_message or ""
    if problem.error_message is not None:
        return problem.error_message
    if problem.centralize:
        return ""
    more = ". Make sure to select all the valid possibilities" if problem.multiple else ""
    return f"Wrong answer{more}"
