"""The one who hears of every event of a server."""

from __future__ import annotations

from assay.observe.journal import Journal
from assay.observe.metrics import Metrics


class Observer:
    """Makes metrics and lines of the log of events."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._journal = Journal()

    def on_event(self, event: object) -> None:
        """Record an event, whoever tells of it."""
        self.metrics.on_event(event)
        self._journal.on_event(event)
