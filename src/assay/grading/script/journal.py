"""What a grader said: records that its commands appended, read once it has ended.

    record   4 bytes: how many follow | fields
    field    4 bytes: how many follow | text
             the first one is the verb, the others are those of `_FIELDS`

Numbers have their lowest byte first. Nothing of it is trusted: a journal that is no journal is a
fault of the task, and a fault is never a pass.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from assay.domain.limits import MIB

JOURNAL_MOST: Final = 17 * MIB
"""Bytes of a whole one: what its commands stop at (16 MiB), and one record more."""
RECORDS_MOST: Final = 100_000
TEXT_MOST: Final = 16 * MIB
CUSTOM_MOST: Final = MIB
"""Characters of all custom values: while one is read, and whenever it is asked for, all wait."""
_LENGTH: Final = 4
_FIELDS: Final[Mapping[str, int]] = {
    "result": 2,  # problem or "", word
    "grade": 1,
    "message": 3,  # problem or "", "a" to append, text
    "state": 1,
    "tag": 1,
    "tag-set": 2,  # name, "true" or "false"
    "custom": 3,  # key, "json" or "auto", value
    "fault": 1,
}
AUTO_TAG: Final = "*auto-tag-"


@dataclass(slots=True)
class SaidOfPart:
    """Of one problem of a task."""

    result: str = ""
    message: str = ""


@dataclass(slots=True)
class Said:
    """All that a grader said, the last word counting."""

    result: str | None = None
    grade: float | None = None
    message: str = ""
    parts: dict[str, SaidOfPart] = field(default_factory=dict)
    tags: dict[str, bool | str] = field(default_factory=dict)
    """Names of tags with whether they hold; or, of those made up for it, with their texts."""
    custom: dict[str, object] = field(default_factory=dict)
    state: str | None = None
    faults: list[str] = field(default_factory=list)
    """What the grader did wrong, or what made its journal unreadable."""
    custom_size: int = 0
    """Characters that were given for `custom`."""

    @property
    def nothing(self) -> bool:
        """Whether it gave no feedback at all."""
        return self == Said(faults=self.faults, custom_size=self.custom_size)


def read_journal(journal: bytes) -> Said:
    """Reduce a journal to what it says."""
    said = Said()
    messages: dict[str, _Message] = {}
    if len(journal) > JOURNAL_MOST:
        said.faults.append("the grader's feedback has more bytes than a journal may have")
        return said
    try:
        for number, (verb, values) in enumerate(_records(journal)):
            if number >= RECORDS_MOST:
                raise _Unreadable(f"it has more than {RECORDS_MOST:,} records")
            if verb == "message":
                problem, append, text = values
                messages.setdefault(problem, _Message()).add(text, append=bool(append))
            else:
                _apply(said, verb, values)
    except _Unreadable as unreadable:
        said.faults.append(f"the grader's feedback can't be read: {unreadable}")
    _keep(said, messages)
    return said


@dataclass(slots=True)
class _Message:
    """A text in pieces: joined once, as a grader may append a hundred thousand times."""

    pieces: list[str] = field(default_factory=list)
    size: int = 0
    too_long: bool = False

    def add(self, text: str, *, append: bool) -> None:
        """A piece more, or the first one of another text."""
        if not append:
            self.pieces, self.size = [], 0
        room = TEXT_MOST - self.size
        self.too_long = self.too_long or len(text) > room
        self.pieces.append(text[:room])
        self.size += len(self.pieces[-1])


def _keep(said: Said, messages: Mapping[str, _Message]) -> None:
    for problem, message in messages.items():
        of = said.parts.setdefault(problem, SaidOfPart()) if problem else said
        of.message = "".join(message.pieces)
    if any(message.too_long for message in messages.values()):
        said.faults.append("the grader's feedback is longer than it may be")


class _Unreadable(Exception):
    """What is wrong with a journal."""


def _records(journal: bytes) -> Iterator[tuple[str, Sequence[str]]]:
    for record in _pieces(journal):
        verb, *values = [piece.decode(errors="replace") for piece in _pieces(record)] or [""]
        if _FIELDS.get(verb) != len(values):
            raise _Unreadable(f"there is no record {verb[:40]!r} of {len(values)} fields")
        yield verb, values


def _pieces(content: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(content):
        begin = at + _LENGTH
        end = begin + int.from_bytes(content[at:begin], "little")
        if end > len(content):
            raise _Unreadable("it ends in the middle of a record")
        yield content[begin:end]
        at = end


def _apply(said: Said, verb: str, values: Sequence[str]) -> None:
    match verb, *values:
        case "result", "", word:
            said.result = word
        case "result", problem, word:
            said.parts.setdefault(problem, SaidOfPart()).result = word
        case "grade", number:
            said.grade = _grade(said, number)
        case "state", state:
            said.state = state
        case "tag", text:
            # By content: the same words are the same tag in every run.
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            said.tags[f"{AUTO_TAG}{digest}"] = text
        case "tag-set", name, value:
            if not name.startswith(AUTO_TAG):
                said.tags[name] = value == "true"
        case "custom", key, kind, value:
            _custom(said, key, kind, value)
        case _:
            said.faults.append(values[0])


def _grade(said: Said, number: str) -> float | None:
    try:
        grade = float(number)
    except ValueError:
        grade = math.nan
    if math.isfinite(grade):
        return grade
    said.faults.append(f"{number[:80]!r} is no grade")
    return said.grade


def _custom(said: Said, key: str, kind: str, value: str) -> None:
    said.custom_size += len(value)
    if said.custom_size > CUSTOM_MOST:
        said.faults.append(f"custom values have more than {CUSTOM_MOST:,} characters together")
        return
    try:
        read = json.loads(value) if kind == "json" else _number_or_text(value)
        msgspec.json.encode(read)  # it is kept so, which half a character can't be
    except (ValueError, OverflowError, RecursionError):
        said.faults.append(f"the value of {key[:80]!r} is no JSON")
    else:
        said.custom[key] = read


def _number_or_text(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
