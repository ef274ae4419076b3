"""Recorded submissions, `test/*.test` of a task: what was handed in, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import InvalidTask
from assay.grading.inginious.documents import read_document
from assay.grading.inginious.grading import Submission
from assay.grading.inginious.judging import Graded, GradedPart
from assay.grading.script.journal import AUTO_TAG
from assay.grading.script.kit import Answer

FOLDERS: Final = ("test", "tests")
_NEAR: Final = 0.01
_ERRORS: Final = ("crash", "error", "killed")


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """One of them."""

    name: str
    submission: Submission
    result: str
    grade: float
    message: str
    problems: Mapping[str, GradedPart]
    tags: Mapping[str, bool | str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Something that is not as it was."""

    what: str
    was: str
    now: str
    counts: bool = True
    """Otherwise the words of the whole differ, and nothing that gives marks."""


def recorded_in(folder: Path) -> list[Path]:
    """The files of a task's folder."""
    return [path for name in FOLDERS for path in sorted((folder / name).glob("*.test"))]


def read_recorded(path: Path) -> Recorded:
    """Read one. Raises InvalidTask."""
    document = read_document(path)
    given = document.get("input")
    if not isinstance(given, dict):
        raise InvalidTask(f"{path}: there is no input")
    inputs: dict[str, Any] = {str(name): value for name, value in given.items()}
    return Recorded(
        name=path.stem,
        submission=_submission(inputs, document),
        result=str(document.get("result", "")),
        grade=_number(document.get("grade")),
        message=str(document.get("text") or ""),
        problems=_problems(document.get("problems")),
        tags=_tags(document.get("tests")),
    )


def _submission(inputs: Mapping[str, Any], document: Mapping[str, Any]) -> Submission:
    randoms = inputs.get("@random")
    known = ("@username", "@email", "@lang", "@time", "@attempts", "@random", "@state")
    return Submission(
        answers={name: _answer(value) for name, value in inputs.items() if name[:1] != "@"},
        username=str(inputs.get("@username") or document.get("username") or "student"),
        email=str(inputs.get("@email") or ""),
        language=str(inputs.get("@lang") or "en"),
        time=str(inputs.get("@time") or document.get("submitted_on") or ""),
        attempts=int(_number(inputs.get("@attempts"))) or 1,
        state=str(inputs.get("@state") or ""),
        randoms=tuple(_number(each) for each in randoms) if isinstance(randoms, list) else None,
        more={
            name: _answer(value)
            for name, value in inputs.items()
            if name[:1] == "@" and name not in known
        },
    )


def _answer(value: Any) -> Answer:
    if isinstance(value, dict) and {"filename", "value"} <= value.keys():
        content = value["value"]
        content = content if isinstance(content, bytes) else str(content).encode()
        return str(value["filename"]), content
    if isinstance(value, list):
        return [str(each) for each in value]
    return value if isinstance(value, str | bytes) else str(value)


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def _problems(value: object) -> dict[str, GradedPart]:
    found: dict[str, GradedPart] = {}
    for name, said in value.items() if isinstance(value, dict) else ():
        result, message = said if isinstance(said, list) and len(said) == 2 else ("", said)
        found[str(name)] = GradedPart(result=str(result), message=str(message or ""))
    return found


def _tags(value: object) -> dict[str, bool | str]:
    found: dict[str, bool | str] = {}
    for name, said in value.items() if isinstance(value, dict) else ():
        found[str(name)] = said if isinstance(said, bool) else str(said)
    return found


def compare(recorded: Recorded, graded: Graded) -> list[Difference]:
    """What is otherwise than it was.

    What INGInious gave full marks though its grader had crashed is otherwise here, on purpose.
    """
    found = []
    if _result(recorded.result) != _result(graded.result):
        now = f"{graded.result} ({graded.detail})" if graded.detail else graded.result
        found.append(Difference(what="result", was=recorded.result, now=now))
    if abs(recorded.grade - (graded.grade or 0.0)) > _NEAR:
        now = "none" if graded.grade is None else f"{graded.grade:g}"
        found.append(Difference(what="grade", was=f"{recorded.grade:g}", now=now))
    found += _of_problems(recorded.problems, graded.problems)
    was, now_ = _named(recorded.tags), _named(graded.tags)
    if was != now_:
        found.append(Difference(what="tags", was=str(sorted(was)), now=str(sorted(now_))))
    if recorded.message.strip() != graded.message.strip():
        found.append(
            Difference(what="text", was=recorded.message, now=graded.message, counts=False)
        )
    return found


def _of_problems(
    before: Mapping[str, GradedPart], after: Mapping[str, GradedPart]
) -> list[Difference]:
    nothing = GradedPart(result="", message="")
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name, nothing), after.get(name, nothing)
        if was.result != now.result:
            found.append(Difference(what=f"{name}: result", was=was.result, now=now.result))
        if was.message.strip() != now.message.strip():
            found.append(Difference(what=f"{name}: text", was=was.message, now=now.message))
    return found


def _result(word: str) -> str:
    return "error" if word in _ERRORS else word


def _named(tags: Mapping[str, bool | str]) -> set[tuple[str, str]]:
    """Tags that were made up have other names in every run of INGInious: their texts count."""
    return {
        ("", str(value)) if name.startswith(AUTO_TAG) else (name, str(value))
        for name, value in tags.items()
    }
