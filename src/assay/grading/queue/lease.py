"""When a worker is given up: its leases end on the database's clock, which may jump."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LEASE_SECONDS: Final = 15.0
BEAT_SECONDS: Final = 5.0
"""Between two heartbeats: two may fail."""
JUMP_SECONDS: Final = 1.0
"""By so much more than time has passed, a clock has jumped and not drifted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steadiness:
    """Since when the database's clock goes on as time does."""

    offset: float
    """From the monotonic clock to the database's."""
    since: float
    """On the monotonic clock."""


def watched(before: Steadiness | None, *, clock: float, monotonic: float) -> Steadiness:
    """What a look at both clocks says. At the first one nothing is known of what was before."""
    offset = clock - monotonic
    if before is None or abs(offset - before.offset) > JUMP_SECONDS:
        return Steadiness(offset=offset, since=monotonic)
    return before


def may_expire(steadiness: Steadiness, *, monotonic: float) -> bool:
    """Whether leases that are over are so because of their workers.

    After a jump each living worker has one lease's time to say that it lives.
    """
    return monotonic - steadiness.since >= LEASE_SECONDS
