"""Regular expressions of teachers against texts of learners, which may take for ever."""

from __future__ import annotations

import asyncio
from typing import Final

import regex

from assay.domain.errors import TaskFault

SECONDS_MOST: Final = 1.0


async def matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Whether all of `text` matches. Raises TaskFault when that isn't known within a second."""
    return await asyncio.to_thread(_matches, pattern, text, ignore_case)


def _matches(pattern: str, text: str, ignore_case: bool) -> bool:
    flags = regex.DOTALL | (regex.IGNORECASE if ignore_case else 0)
    try:
        # Concurrent: the interpreter's lock is let go of meanwhile.
        found = regex.compile(pattern, flags).fullmatch(text, timeout=SECONDS_MOST, concurrent=True)
    except TimeoutError:
        raise TaskFault(
            f"the pattern {pattern[:200]!r} takes more than {SECONDS_MOST:g} s for a text of"
            f" {len(text):,} characters: nested repetitions such as (a+)+ do that"
        ) from None
    except (regex.error, RecursionError) as error:
        raise TaskFault(f"{pattern[:200]!r} is no regular expression: {error}") from error
    return found is not None
