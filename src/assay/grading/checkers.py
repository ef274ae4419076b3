"""How an output is compared with what is expected: functions of bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from assay.grading.tasks.model import Checker, CheckerKind

_SHOWN: Final = 60
"""Bytes that a difference is shown with."""


def difference(checker: Checker, expected: bytes, got: bytes) -> str | None:
    """The first difference in words, or None: the output is right.

    Not for patterns and programs. Of an output that is much longer than what is expected only the
    beginning is looked at; still, many MiB of both take a second, so call it in a thread.
    """
    if checker.ignore_case and checker.kind is not CheckerKind.BYTES:
        expected, got = expected.lower(), got.lower()
    return _BY_KIND[checker.kind](checker, expected, got)


def _bytes(checker: Checker, expected: bytes, got: bytes) -> str | None:
    if expected == got:
        return None
    at = next(
        (at for at, (one, other) in enumerate(zip(expected, got, strict=False)) if one != other),
        min(len(expected), len(got)),
    )
    return f"byte {at + 1} differs: expected {_shown(expected[at:])}, got {_shown(got[at:])}"


def _lines(checker: Checker, expected: bytes, got: bytes) -> str | None:
    lines = _lines_of(expected)
    return _first("line", lines, _lines_of(got, enough_for=len(lines)))


def _lines_of(text: bytes, *, enough_for: int | None = None) -> list[bytes]:
    """All of them; or those that are compared with so many, one more, and the rest as another."""
    text = text.rstrip()  # and so the empty lines at its end
    most = -1 if enough_for is None else enough_for + 1
    return [line.rstrip() for line in text.split(b"\n", most)] if text else []


def _tokens(checker: Checker, expected: bytes, got: bytes) -> str | None:
    return _words(expected, got)


def _words(
    expected: bytes, got: bytes, same: Callable[[bytes, bytes], bool] = bytes.__eq__
) -> str | None:
    words = expected.split()
    return _first("word", words, got.split(maxsplit=len(words) + 1), same)


def _numbers(checker: Checker, expected: bytes, got: bytes) -> str | None:
    def same(one: bytes, other: bytes) -> bool:
        if one == other:
            return True
        number, wanted = _number(other), _number(one)
        if number is None or wanted is None:
            return False
        return math.isclose(number, wanted, rel_tol=checker.relative, abs_tol=checker.absolute)

    return _words(expected, got, same)


def _number(word: bytes) -> float | None:
    """A finite number: what isn't one is never near another. Nobody writes 1_000 and means 1000."""
    try:
        number = float(word) if b"_" not in word and len(word) <= 400 else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _first(
    what: str,
    expected: list[bytes],
    got: list[bytes],
    same: Callable[[bytes, bytes], bool] = bytes.__eq__,
) -> str | None:
    for at, (one, other) in enumerate(zip(expected, got, strict=False), 1):
        if not same(one, other):
            return f"{what} {at} differs: expected {_shown(one)}, got {_shown(other)}"
    if len(expected) > len(got):
        return f"{what} {len(got) + 1} is missing: expected {_shown(expected[len(got)])}"
    if len(expected) < len(got):
        return f"{what} {len(expected) + 1} is too much: {_shown(got[len(expected)])}"
    return None


def _shown(text: bytes) -> str:
    """Of one line, in which nothing can be taken for anything but text."""
    if not text:
        return "nothing"
    cut = text[:_SHOWN].decode(errors="replace")
    return repr(cut) + ("…" if len(text) > _SHOWN else "")


_BY_KIND: Final[Mapping[CheckerKind, Callable[[Checker, bytes, bytes], str | None]]] = (
    MappingProxyType(
        {
            CheckerKind.BYTES: _bytes,
            CheckerKind.EXACT: _lines,
            CheckerKind.TOKENS: _tokens,
            CheckerKind.NUMBERS: _numbers,
        }
    )
)
