"""What is measured after a transaction waits here for a later one: it is worth no commit alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from assay.domain.submission import Measured, Submission

SECONDS_UNTIL_KEPT: Final = 0.5


class Measurements:
    """Those that are not in the database yet; what a server that is killed had here is lost."""

    def __init__(self, keep: Callable[[Sequence[Measured]], asyncio.Future[None]]) -> None:
        self._keep = keep
        self._known: dict[str, Measured] = {}
        self._timer: asyncio.TimerHandle | None = None

    def note(self, measured: Measured) -> None:
        """Keep it soon."""
        before = self._known.get(measured.id)
        self._known[measured.id] = measured if before is None else _both(before, measured)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SECONDS_UNTIL_KEPT, self.flush)

    def flush(self) -> None:
        """Keep all that there is, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._known:
            written = self._known.copy()
            self._keep([*written.values()]).add_done_callback(
                lambda done: self._kept(written, done)
            )

    def _kept(self, written: dict[str, Measured], done: asyncio.Future[None]) -> None:
        """Forget them, even if the database is away: less is known then, and nothing is wrong."""
        if not done.cancelled():
            done.exception()
        for name, measured in written.items():
            if self._known.get(name) is measured:
                del self._known[name]

    def of(self, submission: Submission) -> Submission:
        """The same with what is known here, and not in the database yet."""
        measured = self._known.get(submission.id)
        if measured is None:
            return submission
        now = _both(
            Measured(
                id=submission.id,
                sending_seconds=submission.sending_seconds,
                response_seconds=submission.response_seconds,
            ),
            measured,
        )
        return replace(
            submission, sending_seconds=now.sending_seconds, response_seconds=now.response_seconds
        )


def _both(one: Measured, other: Measured) -> Measured:
    return Measured(
        id=one.id,
        sending_seconds=_longer(one.sending_seconds, other.sending_seconds),
        response_seconds=_longer(one.response_seconds, other.response_seconds),
    )


def _longer(one: float | None, other: float | None) -> float | None:
    known = [each for each in (one, other) if each is not None]
    return max(known, default=None)
