"""Mistakes by exchanging signs and numbers, for languages whose grammar nobody has to know.

What is exchanged for what, and what comments and texts look like, is data of environments. A mutant
that is no program of the language costs an attempt to compile it, and counts for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from assay.environments import Syntax
from assay.grading.trials.mutants.mutant import Mutant, change

_SIGNS: Final = re.compile(r"[-+*/%<>=!&|^~?:]+")
# Not within a word, a fraction, or a variable of a shell.
_WHOLE_NUMBER: Final = re.compile(r"(?<![\w.$#])\d+(?=[uUlLnN]{0,3}(?![\w.]))")
_MOST_DIGITS: Final = 18
_AROUND: Final = 24
"""Characters that are shown beside what is exchanged."""


def mutants(file: str, source: str, syntax: Syntax) -> list[Mutant]:
    """All of them, in the order of the text."""
    made: dict[tuple[int, str], Mutant] = {}
    for start, end in code(source, syntax):
        for at, before, after in sorted(_changes(source, start, end, syntax)):
            made[at, after] = _mutant(file, source, at, before, after)
    return list(made.values())


def _mutant(file: str, source: str, at: int, before: str, after: str) -> Mutant:
    end = at + len(before)
    shown = (_around(source, at, before, instead) for instead in (before, after))
    return Mutant(
        file=file,
        line=source.count("\n", 0, end - len(before.lstrip())) + 1,
        change=change(*shown),
        source=source[:at] + after + source[end:],
    )


def code(source: str, syntax: Syntax) -> Iterator[tuple[int, int]]:
    """The stretches of a source that are neither comments nor texts."""
    start = at = 0
    while at < len(source):
        after = _passed(source, at, syntax)
        if after is None:
            at += 1
            continue
        if at > start:
            yield start, at
        start = at = after
    if at > start:
        yield start, at


def _passed(source: str, at: int, syntax: Syntax) -> int | None:
    """Where the comment or text ends that begins here, or None."""
    for begins, ends in syntax.comments:
        if source.startswith(begins, at) or (at == 0 and source.startswith(begins.lstrip("\n"))):
            found = source.find(ends or "\n", at + len(begins))
            return len(source) if found < 0 else found + len(ends)
    if source[at] in syntax.quotes:
        return _text_end(source, at)
    return None


def _text_end(source: str, at: int) -> int:
    quote = source[at]
    at += 1
    while at < len(source) and source[at] != quote:
        if source[at] == "\n" and quote != "`":
            return at  # it was none: an apostrophe, say
        at += 2 if source[at] == "\\" else 1
    return min(at + 1, len(source))


def _changes(source: str, start: int, end: int, syntax: Syntax) -> Iterator[tuple[int, str, str]]:
    """Where, what, and what instead."""
    for found in _SIGNS.finditer(source, start, end):
        for before, after in syntax.swaps:
            if found[0] == before:
                yield found.start(), before, after
    for before, after in syntax.swaps:
        if not _SIGNS.fullmatch(before):
            for found in re.finditer(re.escape(before), source[start:end]):
                yield start + found.start(), before, after
    for found in _WHOLE_NUMBER.finditer(source, start, end):
        if len(found[0]) <= _MOST_DIGITS:
            number = int(found[0])
            yield found.start(), found[0], str(number + 1)
            if number:
                yield found.start(), found[0], str(number - 1)


def _around(source: str, at: int, before: str, instead: str) -> str:
    """The line in which something is exchanged, or as much of it as says where."""
    end = at + len(before)
    left = source.rfind("\n", 0, end - len(before.lstrip())) + 1
    right = source.find("\n", end)
    right = len(source) if right < 0 else right
    first, last = max(left, at - _AROUND), min(right, end + _AROUND)
    begin = "…" if first > left else ""
    return f"{begin}{source[first:at]}{instead}{source[end:last]}{'…' if last < right else ''}"
