"""Events as records of the log: one line for each, but no more than can be read."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

from assay.api.services import Answered
from assay.cluster import events as cluster
from assay.domain.errors import AssayError
from assay.driver import guard
from assay.grading import events as grading
from assay.pool import events as pool
from assay.runners import events as runners
from assay.storage import events as storage

MOST_A_SECOND: Final = 20
"""Records of one kind; of more, the next one says how many there were."""

_LEVELS: Final[dict[type, tuple[str, int]]] = {
    guard.SandboxCreated: ("assay.driver", logging.DEBUG),
    guard.SandboxDestroyed: ("assay.driver", logging.DEBUG),
    guard.DriverFailed: ("assay.driver", logging.WARNING),
    pool.SandboxAdded: ("assay.pool", logging.DEBUG),
    pool.SandboxFailed: ("assay.pool", logging.WARNING),
    pool.SandboxUnhealthy: ("assay.pool", logging.WARNING),
    pool.SandboxNotDestroyed: ("assay.pool", logging.ERROR),
    pool.Claimed: ("assay.pool", logging.DEBUG),
    pool.ClaimFailed: ("assay.pool", logging.WARNING),
    runners.RunnerCreated: ("assay.runners", logging.INFO),
    runners.RunnerEnded: ("assay.runners", logging.INFO),
    runners.RunnerReconnected: ("assay.runners", logging.INFO),
    runners.ExecutionStarted: ("assay.runners", logging.DEBUG),
    runners.ExecutionEnded: ("assay.runners", logging.DEBUG),
    runners.RunFinished: ("assay.runners", logging.DEBUG),
    Answered: ("assay.api", logging.DEBUG),
    cluster.ServersChanged: ("assay.cluster", logging.INFO),
    cluster.TookOver: ("assay.cluster", logging.WARNING),
    grading.Graded: ("assay.grading", logging.DEBUG),
    grading.GradingFailed: ("assay.grading", logging.WARNING),
    grading.GradingGivenUp: ("assay.grading", logging.ERROR),
    grading.ClaimLost: ("assay.grading", logging.INFO),
    grading.WorkerLost: ("assay.grading", logging.WARNING),
    grading.Forgotten: ("assay.grading", logging.INFO),
    storage.StorageFailed: ("assay.storage", logging.ERROR),
    storage.DatabaseLost: ("assay.storage", logging.ERROR),
    storage.DatabaseBack: ("assay.storage", logging.WARNING),
}
"""What is not here is not told: numbers that change all the time."""

_WORDS: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Journal:
    """Writes events to the log."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds = {
            kind: _Kind(kind, logging.getLogger(logger), level)
            for kind, (logger, level) in _LEVELS.items()
        }

    def on_event(self, event: object) -> None:
        """Tell of an event, if it is one to tell of."""
        kind = self._kinds.get(type(event))
        if kind is not None and kind.logger.isEnabledFor(kind.level):
            kind.tell(event, self._clock())


class _Kind:
    """One kind of events: its logger, and how many there were within this second."""

    def __init__(self, kind: type, logger: logging.Logger, level: int) -> None:
        self.logger = logger
        self.level = level
        self._name = _WORDS.sub(" ", kind.__name__).lower()
        self._fields = tuple(field.name for field in fields(kind))
        self._second = 0.0
        self._told = 0
        self._left_out = 0

    def tell(self, event: object, now: float) -> None:
        """Write it, unless there were too many."""
        if now - self._second >= 1.0:
            self._second, self._told = now, 0
        if self._told >= MOST_A_SECOND:
            self._left_out += 1
            return
        self._told += 1
        values = {name: _shown(getattr(event, name)) for name in self._fields}
        if self._left_out:
            values["left_out"], self._left_out = self._left_out, 0
        self.logger.log(self.level, self._name, extra={"fields": values})


def _shown(value: Any) -> Any:
    if isinstance(value, AssayError):
        return {"code": value.code, "message": value.message, "detail": value.detail}
    return round(value, 6) if isinstance(value, float) else value
