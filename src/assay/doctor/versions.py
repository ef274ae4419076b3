"""Compares versions the way their makers mean them: 1.2.0-rc.3 comes before 1.2.0."""

from __future__ import annotations

import re
from collections.abc import Iterable

Version = tuple[tuple[int, ...], tuple[int, ...]]
"""Numbers, and those of a pre-release; a release has one that comes after all of them."""

_RELEASE = (2**31,)
_FORM = re.compile(r"v?(\d+(?:\.\d+)*)(?:[-~.]?(rc|beta|alpha|pre)[.\-]?(\d*))?")
_STAGES = {"alpha": 0, "beta": 1, "pre": 2, "rc": 3}


def parse(text: str) -> Version | None:
    """A version at the start of `text`, or None. "1.1.5+ds1" is 1.1.5."""
    found = _FORM.match(text)
    if found is None:
        return None
    numbers = tuple(int(number) for number in found[1].split("."))
    if found[2] is None:
        return _padded(numbers), _RELEASE
    return _padded(numbers), (_STAGES[found[2]], int(found[3] or 0))


def is_fixed(version: str, fixed_in: Iterable[str], since: str = "") -> bool | None:
    """Whether a version has a fix that was made in each of several branches; None if unclear.

    Versions below 1.2 have no fix that was made in 1.2.8 and 1.3.3, 1.2.9 has it, 1.3.1 has not,
    1.4 has it. Versions before `since` do not have what needs to be fixed.
    """
    here = parse(version)
    fixes = [found for text in fixed_in if (found := parse(text)) is not None]
    if here is None or not fixes:
        return None
    start = parse(since)
    if start is not None and here < start:
        return True
    return here >= max(fixes) or any(here >= fix and here[0][:2] == fix[0][:2] for fix in fixes)


def _padded(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return (*numbers, *(0,) * (4 - len(numbers)))
