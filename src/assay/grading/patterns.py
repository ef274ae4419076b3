"""Regular expressions of teachers against texts of learners, which may take for ever."""

from __future__ import annotations

import asyncio
from typing import Final

import regex

from assay.domain.errors import TaskFault

SECONDS_MOST: Final = 1.0
SHORT_MOST: Final = 10_000
"""Characters for which any pattern that is fit for use has time enough: an answer has no more."""


async def matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool | None:
    """Whether all of `text` matches; None when that isn't known within a second.

    Raises TaskFault when it isn't known of a short text, which is no learner's fault.
    """
    return await asyncio.to_thread(_matches, pattern, text, ignore_case)


def too_slow(pattern: str, text: str) -> str:
    """Words for the teacher of a pattern that did not come to its end."""
    return (
        f"the pattern {pattern[:200]!r} takes more than {SECONDS_MOST:g} s for a text of"
        f" {len(text):,} characters: nested repetitions such as (a+)+ do that"
    )


def _matches(pattern: str, text: str, ignore_case: bool) -> bool | None:
    flags = regex.DOTALL | (regex.IGNORECASE if ignore_case else 0)
    try:
        # Concurrent: the interpreter's lock is let go of meanwhile.
        found = regex.compile(pattern, flags).fullmatch(text, timeout=SECONDS_MOST, concurrent=True)
    except TimeoutError:
        if len(text) <= SHORT_MOST:
            raise TaskFault(too_slow(pattern, text)) from None
        return None
    except (regex.error, RecursionError) as error:
        raise TaskFault(f"{pattern[:200]!r} is no regular expression: {error}") from error
    return found is not None
