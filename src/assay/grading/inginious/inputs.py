"""What learners hand in for a task of INGInious, and what its grader is told of them."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from assay.domain.errors import InvalidInput, InvalidSubmission
from assay.driver.port import Secret
from assay.grading.inginious.problems import Problem, require_answers
from assay.grading.offered import Content, File, Given
from assay.grading.script.kit import Answer

_OF_LEARNERS: Final = ("@username", "@email", "@lang")
_OTHERS: Final = "@lti_"
_LONGEST: Final = 1000
_FILE_KINDS: Final = ("file", "code_file")
_SEED_BITS: Final = 62


def accepted(problems: Sequence[Problem], given: Given) -> Content:
    """What is to be kept of it. Raises InvalidSubmission, in words for the learner."""
    known = {each.id: each for each in problems}
    for name in (*given.files, *given.answers):
        if name not in known:
            asked = ", ".join(known)
            raise InvalidSubmission(f"{name[:80]!r} is not asked for: the task has {asked}")
    _require_inputs(given.inputs)
    made = _made(known, given)
    try:
        require_answers(problems, answers_of(made))
    except InvalidInput as error:
        raise InvalidSubmission(error.message) from error
    return made


def _made(known: Mapping[str, Problem], given: Given) -> Content:
    files = {name: file for name, file in given.files.items() if _is_file(known[name])}
    texts = {name: _text(name, file) for name, file in given.files.items() if name not in files}
    answers = {name: _answer(known[name], answer) for name, answer in given.answers.items()}
    nothing: dict[str, str | list[int | str]] = {
        each.id: [] for each in known.values() if each.kind == "multiple_choice" and each.multiple
    }
    return Content(
        files={name: file.content for name, file in files.items()},
        names={name: _file_name(name, file) for name, file in files.items()},
        answers={**nothing, **texts, **answers},
        inputs=dict(given.inputs),
    )


def _is_file(problem: Problem) -> bool:
    return problem.kind in _FILE_KINDS


def _text(name: str, file: File) -> str:
    try:
        return file.content.decode()
    except UnicodeDecodeError as error:
        raise InvalidSubmission(f"the answer to {name} is no text in UTF-8") from error


def _file_name(name: str, file: File) -> str:
    found = file.name or name
    if not found.isprintable() or "/" in found or not 0 < len(found.encode()) <= 255:
        raise InvalidSubmission(f"the file for {name} has a name that no file can have")
    return found


def _answer(problem: Problem, answer: object) -> str | list[int | str]:
    """As INGInious has it: texts, also of numbers; one choice by itself, several as a list."""
    if problem.kind == "multiple_choice":
        ticked = answer if isinstance(answer, list | tuple) else [answer]
        if all(type(each) in (int, str) for each in ticked):
            texts: list[int | str] = [str(each) for each in ticked]
            return texts if problem.multiple or len(texts) != 1 else str(texts[0])
    elif isinstance(answer, str):
        return answer
    elif type(answer) is int or (
        isinstance(answer, list) and len(answer) == 1 and type(answer[0]) is int
    ):
        return str(answer[0] if isinstance(answer, list) else answer)
    raise InvalidSubmission(f"the answer to {problem.id} is a text, or the numbers of choices")


def _require_inputs(inputs: Mapping[str, str]) -> None:
    for name, value in inputs.items():
        if name not in _OF_LEARNERS and not name.startswith(_OTHERS):
            allowed = ", ".join(_OF_LEARNERS)
            raise InvalidSubmission(
                f"{name[:80]!r} is no input: there are {allowed}, and names that begin with"
                f" {_OTHERS}; all others are the server's to say"
            )
        if not (name.isprintable() and "/" not in name) or max(len(name), len(value)) > _LONGEST:
            raise InvalidSubmission(f"the input {name[:80]!a} is not well formed, or too long")


def answers_of(content: Content) -> dict[str, Answer]:
    """What a grader finds of it."""
    files: dict[str, Answer] = {
        name: (content.names.get(name, name), file) for name, file in content.files.items()
    }
    return {**{name: _kept(answer) for name, answer in content.answers.items()}, **files}


def _kept(answer: str | list[int | str]) -> Answer:
    return answer if isinstance(answer, str) else [str(each) for each in answer]


def seed_of(key: Secret, *words: str) -> int:
    """A number that is always the same one for the same words and key.

    Who could foresee it could tell right choices from those that it shows beside them.
    """
    whole = "\0".join(words).encode(errors="replace")
    return _number(hmac.digest(key.reveal(), whole, "sha256"))


def _number(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "big") >> (64 - _SEED_BITS)


def randoms_of(seed: int, count: int) -> tuple[float, ...]:
    """So many random numbers, from 0 to 1."""
    given = random.Random(seed)
    return tuple(given.random() for _ in range(count))


def shown_choices(problem: Problem, seed: int | None) -> tuple[int, ...]:
    """Which choices somebody sees, and in which order: with a limit some of them, all right ones
    among them where several may be chosen, and one where one may."""
    if seed is None:
        return tuple(each.index for each in problem.choices)
    chance = random.Random(_number(hashlib.sha256(f"{seed}\0{problem.id}".encode()).digest()))
    right = [each.index for each in problem.choices if each.valid]
    wrong = [each.index for each in problem.choices if not each.valid]
    if problem.limit > 0:
        right = right if problem.multiple else [chance.choice(right)]
        count = min(len(wrong), max(0, problem.limit - len(right)))
        wrong = chance.sample(wrong, count)
    order = sorted((*right, *wrong))
    if not problem.unshuffle:
        chance.shuffle(order)
    return tuple(order)


def time_text(seconds: float) -> str:
    """As INGInious writes a time, in this machine's zone."""
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S.%f")
