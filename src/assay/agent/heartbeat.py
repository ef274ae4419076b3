"""Silence on a connection: when to break one's own, and when to take the other side for lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_ROUNDING: Final = 1e-6
"""Seconds: a timer that is due is due, whatever the last digit of a difference says. (In virtual
time it would be due for ever.)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timings:
    """The protocol's times, in seconds of the event loop's clock."""

    ping: float = 12.0
    """Of own silence, then comes a PING. An agent asks after 10 seconds: our answer to it has then
    usually broken the silence, so that each of many connections costs one exchange, not two."""
    silence: float = 30.0
    """Without a byte from the agent, then it is lost."""
    hello: float = 10.0
    """For the agent's answer to HELLO."""


class Heartbeat:
    """One timer that looks after both kinds of silence.

    `last_sent` says when something was sent, or None while something is on its way that the agent
    does not take: it would not take a PING either. `last_heard` says when something came.
    """

    def __init__(
        self,
        timings: Timings,
        *,
        last_sent: Callable[[], float | None],
        last_heard: Callable[[], float],
        ping: Callable[[], None],
        silent: Callable[[], None],
    ) -> None:
        self._timings = timings
        self._last_sent = last_sent
        self._last_heard = last_heard
        self._ping = ping
        self._silent = silent
        self._loop = asyncio.get_running_loop()
        self._silent_since = self._loop.time()
        self._stopped = False
        self._plan(self._silent_since)

    def stop(self) -> None:
        """End it."""
        self._stopped = True
        self._timer.cancel()

    def _plan(self, spoken: float) -> None:
        self._due = min(spoken + self._timings.ping, self._silent_since + self._timings.silence)
        self._timer = self._loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        now = self._loop.time()
        self._silent_since = max(self._silent_since, self._last_heard())
        if now - self._due > self._timings.ping / 5:
            # This program itself stood still (a suspended machine): what the agent sent meanwhile
            # may still lie in the socket, so the silence counts from now.
            self._silent_since = now
        if now - self._silent_since >= self._timings.silence - _ROUNDING:
            self._silent()
            return
        spoken = self._last_sent()
        if spoken is not None and now - spoken >= self._timings.ping - _ROUNDING:
            self._ping()
            if self._stopped:  # as the connection turned out to be broken
                return
            spoken = now
        self._plan(now if spoken is None else spoken)
