"""What becomes of a message that did not arrive: a function of data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FIRST_SECONDS: Final = 5.0
LONGEST_SECONDS: Final = 6 * 3600.0
MOST_ATTEMPTS: Final = 12
"""With the delays between them: about a day."""
_SPREAD: Final = 0.25
_GONE: Final = 410


@dataclass(frozen=True, kw_only=True, slots=True)
class Again:
    """It is sent again."""

    after_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Never:
    """It is given up."""

    disable: str = ""
    """Why nothing more is to be sent there; "": other messages may arrive."""


def after_failure(
    *,
    attempts: int,
    status: int | None,
    created_at: float,
    failing_since: float | None,
    spread: float,
    retry_after: float = 0.0,
) -> Again | Never:
    """`attempts` were made, this one included; `spread` is random, from 0 to 1."""
    if status == _GONE:
        return Never(disable="the receiver says that it is gone (410)")
    if attempts >= MOST_ATTEMPTS:
        lasting = failing_since is not None and failing_since <= created_at + LONGEST_SECONDS
        return Never(disable="nothing has arrived for a day" if lasting else "")
    delay = FIRST_SECONDS * 3.0 ** min(attempts - 1, 20)
    wanted = max(delay, min(retry_after, LONGEST_SECONDS))
    return Again(after_seconds=min(wanted, LONGEST_SECONDS) * (1 + _SPREAD * spread))
