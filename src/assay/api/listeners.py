"""Server-sent events for those who want to know what is, not what happened.

Nothing is queued for a listener. Each looks for itself, twice a second at most, and is told what is
different from what it was told last: one that reads slowly misses states in between, never the
newest.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final

from assay.domain.errors import QuotaExceeded

INTERVAL_SECONDS: Final = 0.5
"""Time between two events of one listener, at least."""
HEARTBEAT_SECONDS: Final = 15.0
"""Silence at most, so that nobody in between takes the connection for dead."""
LISTENERS_MOST: Final = 64
"""Listeners at one time."""
RETRY_MS: Final = 2000
"""When a browser connects again."""
State = Mapping[str, bytes]
"""Names of events -> their data, JSON without line breaks."""


class Listeners:
    """Counts those who listen, and looks no more often than they may be told."""

    def __init__(
        self,
        *,
        most: int = LISTENERS_MOST,
        interval_seconds: float = INTERVAL_SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.count = 0
        self._most = most
        self._interval = interval_seconds
        self._heartbeat = heartbeat_seconds
        self._clock = clock
        self._looked_at = float("-inf")
        self._seen: State = {}

    async def changes(
        self, look: Callable[[], State], goes_on: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Yield events as bytes until the server drains. Raises QuotaExceeded at once."""
        if self.count >= self._most:
            raise QuotaExceeded(f"{self._most} listeners are there already")
        self.count += 1
        try:
            yield b"retry: %d\n\n" % RETRY_MS
            async for event in self._told(look, goes_on):
                yield event
        finally:
            self.count -= 1

    async def _told(
        self, look: Callable[[], State], goes_on: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        told: dict[str, bytes] = {}
        spoke_at = self._clock()
        while goes_on():
            name = _next_change(self._look(look), told)
            if name is not None:
                # Again into the dict's end: who was told last waits for the others.
                told.pop(name, None)
                told[name] = self._seen[name]
                yield b"event: %s\ndata: %s\n\n" % (name.encode(), told[name])
                spoke_at = self._clock()
            elif self._clock() - spoke_at >= self._heartbeat:
                yield b": still here\n\n"
                spoke_at = self._clock()
            await asyncio.sleep(self._interval)
        yield b"event: end\ndata: {}\n\n"

    def _look(self, look: Callable[[], State]) -> State:
        now = self._clock()
        if now - self._looked_at >= self._interval:
            self._seen = look()
            self._looked_at = now
        return self._seen


def _next_change(state: State, told: Mapping[str, bytes]) -> str | None:
    """The event that is due: one that was never told, or else the one told longest ago."""
    for name in state:
        if name not in told:
            return name
    for name, data in told.items():
        if state.get(name, data) != data:
            return name
    return None
