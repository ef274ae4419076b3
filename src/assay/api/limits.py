"""How often somebody may ask: token buckets, decided by a pure function, in bounded memory.

A bucket is one number, the time at which it will be full again. Who has not asked for long enough
has a full bucket, which is what nobody remembers: forgetting those loses nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from assay.domain.errors import Busy, InvalidInput, RateLimited

BUCKETS_MOST: Final = 10_000
"""Buckets that are remembered at one time, by default."""


MOST_DEBT_SECONDS: Final = 60.0
"""What was let in elsewhere keeps nobody waiting for longer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """Requests a second in the long run, and `burst` of them at once."""

    per_second: float
    burst: int

    def __post_init__(self) -> None:
        if not (0 < self.per_second < math.inf and self.burst >= 1):
            raise InvalidInput(
                "a rate needs more than zero requests a second, and a burst of at least one"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a request may pass, and what the bucket is like after it."""

    allowed: bool
    full_at: float
    """When the bucket will be full, on the clock of `now`."""
    retry_after_seconds: float = 0.0
    """When as much can be taken, unless others take it before."""


def take(full_at: float, rate: Rate, now: float, cost: float = 1.0) -> Verdict:
    """Take `cost` out of a bucket that will be full at `full_at`; a refusal takes nothing."""
    after = max(full_at, now) + cost / rate.per_second
    earliest = after - rate.burst / rate.per_second
    # A nanosecond of grace: sums of floats must not refuse what is due.
    if earliest <= now + 1e-9:
        return Verdict(allowed=True, full_at=after)
    return Verdict(allowed=False, full_at=full_at, retry_after_seconds=earliest - now)


class Buckets:
    """The buckets of many askers; at most so many, the fullest of which are forgotten first."""

    def __init__(
        self, *, most: int = BUCKETS_MOST, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._clock = clock
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, asker: str, rate: Rate) -> None:
        """Take one request of `asker`. Raises RateLimited."""
        now = self._clock()
        verdict = take(self._full_at.get(asker, 0.0), rate, now)
        if not verdict.allowed:
            raise too_often(verdict.retry_after_seconds)
        if asker not in self._full_at and len(self._full_at) >= self._most:
            self._forget(now)
        self._full_at[asker] = verdict.full_at

    def charge(self, asker: str, seconds: float) -> None:
        """Requests of `asker` were let in elsewhere, which take so many seconds of its rate."""
        now = self._clock()
        if asker not in self._full_at and len(self._full_at) >= self._most:
            self._forget(now)
        full_at = max(self._full_at.get(asker, 0.0), now) + seconds
        self._full_at[asker] = min(full_at, now + MOST_DEBT_SECONDS)

    def wait_seconds(self, asker: str, rate: Rate) -> float:
        """How long until `asker` may ask again; 0.0 is now. Takes nothing."""
        full_at = self._full_at.get(asker)
        return 0.0 if full_at is None else take(full_at, rate, self._clock()).retry_after_seconds

    def _forget(self, now: float) -> None:
        """Forget the full ones, or the fuller half: seldom, so that a flood costs little."""
        kept = {asker: at for asker, at in self._full_at.items() if at > now}
        if len(kept) >= self._most:
            emptiest = sorted(kept.items(), key=lambda item: item[1])[len(kept) // 2 :]
            kept = dict(emptiest)
        self._full_at = kept


def too_often(seconds: float) -> RateLimited:
    """The error for who may ask again in so many seconds."""
    return RateLimited(
        f"too many requests; ask again in {math.ceil(seconds)} s", retry_after_seconds=seconds
    )


def refusal_fields(error: Busy) -> Mapping[str, str]:
    """The header fields of an answer 429 or 503: when to ask again."""
    if not isinstance(error, RateLimited):
        return {"Retry-After": "1"}
    seconds = max(1, math.ceil(error.retry_after_seconds))
    return {"Retry-After": str(seconds), "RateLimit": f'"requests";r=0;t={seconds}'}
