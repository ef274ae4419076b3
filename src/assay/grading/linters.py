"""Linters: how each is started, and what its machine format says. Functions of data."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final

import msgspec

from assay.grading import silencing
from assay.grading.tasks.model import Severity

# As Python writes its literals: names of the learner's are in the text, with line breaks and tabs.
_FLAKE8_FORMAT: Final = "%(path)a\t%(row)d\t%(code)a\t%(text)a"
_LITERAL: Final = r"""['"]([^\t]*)['"]"""
_FLAKE8: Final = re.compile(rf"{_LITERAL}\t(\d{{1,9}})\t{_LITERAL}\t{_LITERAL}", re.ASCII)


class Unreadable(Exception):
    """What a linter wrote is not in its machine format."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that a linter has found."""

    file: str
    line: int
    severity: Severity
    code: str
    text: str

    def __str__(self) -> str:
        line = f"{self.file}:{self.line}: {self.severity}: {self.text} [{self.code}]"
        return line.replace("\n", "\n    ")  # what it quotes is no other finding


@dataclass(frozen=True, kw_only=True, slots=True)
class Linter:
    """One tool. It says nothing of a learner's own settings: they are not read."""

    argv: tuple[str, ...]
    """Files come after it, and what the task has to say."""
    endings: tuple[str, ...]
    """Of files that it can read."""
    read: Callable[[bytes, bytes], Sequence[Finding]]
    """What its standard output and error say. Raises Unreadable."""
    statuses: frozenset[int]
    """Exit statuses with which it has done its work."""
    silenced: Callable[[str], Iterable[int]] | None = None
    """Lines of a source that keep findings back, where the tool can't be told to ignore that."""
    includes: bool = False
    """Whether any other file can be made a part of those that it reads."""


# --- machine formats -----------------------------------------------------------------------------


class _Pylint(msgspec.Struct):
    type: str
    path: str
    line: int
    symbol: str
    message: str


_PYLINT: Final[Mapping[str, Severity]] = MappingProxyType(
    {
        "fatal": Severity.ERROR,
        "error": Severity.ERROR,
        "warning": Severity.WARNING,
        "refactor": Severity.REFACTOR,
        "convention": Severity.CONVENTION,
        "info": Severity.INFO,
    }
)


def _pylint(stdout: bytes, stderr: bytes) -> list[Finding]:
    return [
        Finding(
            file=each.path, line=each.line, severity=_PYLINT.get(each.type, Severity.ERROR),
            code=each.symbol, text=each.message,
        )
        for each in _decoded(stdout or b"[]", list[_Pylint])
    ]  # fmt: skip


def _flake8(stdout: bytes, stderr: bytes) -> list[Finding]:
    findings = []
    for line in stdout.decode(errors="replace").removesuffix("\n").split("\n") if stdout else ():
        read = _FLAKE8.fullmatch(line)
        if read is None:
            raise Unreadable(line[:200])
        file, code, text = map(_of_literal, read.group(1, 3, 4))
        findings.append(
            Finding(file=file, line=int(read[2]), severity=_of_code(code), code=code, text=text)
        )
    return findings


def _of_literal(literal: str) -> str:
    try:
        return literal.encode("ascii").decode("unicode_escape")
    except ValueError as error:
        raise Unreadable(literal[:200]) from error


def _of_code(code: str) -> Severity:
    """E9 and F are what can't work, C is complexity, the rest is how it looks."""
    if code.startswith(("E9", "F", "invalid")):
        return Severity.ERROR
    if code.startswith("W6") or not code.startswith(("E", "W", "C", "D", "N", "I", "Q")):
        return Severity.WARNING
    return Severity.REFACTOR if code.startswith("C") else Severity.STYLE


class _Place(msgspec.Struct):
    row: int


class _Ruff(msgspec.Struct):
    filename: str
    location: _Place
    message: str
    code: str | None = None


def _ruff(stdout: bytes, stderr: bytes) -> list[Finding]:
    return [
        Finding(
            file=PurePosixPath(each.filename).name, line=each.location.row,
            severity=_of_code(each.code or "E9"), code=each.code or "syntax", text=each.message,
        )
        for each in _decoded(stdout, list[_Ruff])
    ]  # fmt: skip


class _Shell(msgspec.Struct):
    file: str
    line: int
    level: str
    code: int
    message: str


def _shellcheck(stdout: bytes, stderr: bytes) -> list[Finding]:
    return [
        Finding(
            file=each.file, line=each.line, severity=Severity(each.level),
            code=f"SC{each.code}", text=each.message,
        )
        for each in _decoded(stdout, list[_Shell])
        if each.level in ("error", "warning", "info", "style")
    ]  # fmt: skip


class _Caret(msgspec.Struct):
    file: str = ""
    line: int = 0


class _Location(msgspec.Struct):
    caret: _Caret = msgspec.field(default_factory=_Caret)


class _Gcc(msgspec.Struct):
    kind: str
    message: str
    locations: list[_Location] = []
    option: str = ""


def _gcc(stdout: bytes, stderr: bytes) -> list[Finding]:
    findings = []
    # One array for each source file, each on a line; other lines are for people.
    for line in stderr.split(b"\n"):
        for each in _decoded(line, list[_Gcc]) if line.startswith(b"[") else ():
            if each.kind in ("note", "sorry"):
                continue
            at = each.locations[0].caret if each.locations else _Caret()
            severity = Severity.WARNING if each.kind == "warning" else Severity.ERROR
            findings.append(
                Finding(
                    file=at.file, line=at.line, severity=severity,
                    code=each.option or each.kind, text=each.message,
                )
            )  # fmt: skip
    return findings


def _decoded(text: bytes, kind: Any) -> Any:
    """JSON as linters write it: what they quote is not always UTF-8, or without control bytes."""
    try:
        return msgspec.convert(json.loads(text.decode(errors="replace"), strict=False), kind)
    except (ValueError, RecursionError) as error:  # msgspec's errors are among them
        raise Unreadable(str(error)[:200]) from error


# --- tools ---------------------------------------------------------------------------------------

# -I: what lies beside a learner's file is not imported in place of the tool's own modules.
_PYTHON: Final = ("python3", "-I", "-m")
_C: Final = ("-fsyntax-only", "-fdiagnostics-format=json", "-Wall", "-Wextra")

LINTERS: Final[Mapping[str, Linter]] = MappingProxyType(
    {
        "flake8": Linter(
            argv=(*_PYTHON, "flake8", "--isolated", "--disable-noqa", f"--format={_FLAKE8_FORMAT}"),
            endings=(".py",), read=_flake8, statuses=frozenset((0, 1)),
        ),
        "pylint": Linter(
            argv=(
                *_PYTHON, "pylint", "--rcfile=/dev/null", "--output-format=json", "--score=n",
                "--persistent=n", "--reports=n",
            ),
            endings=(".py",), read=_pylint, statuses=frozenset(range(32)),
            silenced=silencing.for_pylint,
        ),
        "ruff": Linter(
            argv=(
                "ruff", "check", "--isolated", "--ignore-noqa", "--no-cache",
                "--output-format=json",
            ),
            endings=(".py",), read=_ruff, statuses=frozenset((0, 1)),
        ),
        "gcc": Linter(
            argv=("gcc", *_C), endings=(".c",), read=_gcc, statuses=frozenset((0, 1)),
            silenced=silencing.for_gcc, includes=True,
        ),
        "g++": Linter(
            argv=("g++", *_C), endings=(".cpp", ".cc", ".cxx"), read=_gcc,
            statuses=frozenset((0, 1)), silenced=silencing.for_gcc, includes=True,
        ),
        "shellcheck": Linter(
            argv=("shellcheck", "--norc", "--format=json"), endings=(".sh", ".bash"),
            read=_shellcheck, statuses=frozenset((0, 1)),
            silenced=silencing.for_shellcheck,
        ),
    }
)  # fmt: skip


def silenced(linter: Linter, file: str, source: bytes) -> list[Finding]:
    """Lines of a source that keep findings back."""
    if linter.silenced is None:
        return []
    return [
        Finding(
            file=file, line=number, severity=Severity.ERROR, code="silenced",
            text="this line keeps the linter from saying something",
        )
        for number in islice(linter.silenced(source.decode(errors="replace")), silencing.MOST)
    ]  # fmt: skip


def score(findings: Sequence[Finding], weights: Mapping[Severity, float], most: float) -> float:
    """From 1 with nothing found down to 0."""
    cost = sum(weights[each.severity] for each in findings)
    return max(0.0, 1.0 - cost / most)
