"""How full the queue is, and where in it a submission waits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assay.domain.errors import NotFound
from assay.domain.line import Line, LineKey
from assay.domain.submission import Counts
from assay.storage.kind import Cursor
from assay.storage.statements import Statement
from assay.storage.submissions.rows import line_of
from assay.storage.submissions.statements import QueueStatements


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """What is to be known for one submission's outlook."""

    mine: Line
    """Its line, which is in `lines`."""
    before: int
    """So many are before it in its own line."""
    lines: Sequence[Line]
    counts: Counts


class Situations:
    """Questions that need several statements, which see one moment."""

    def __init__(
        self, sql: QueueStatements, clock: Callable[[], float], lease_seconds: float
    ) -> None:
        self._sql, self._clock, self._lease_seconds = sql, clock, lease_seconds

    def situation(self, cursor: Cursor, name: str) -> Situation | None:
        """Of one that waits in a line; None: it doesn't. Raises NotFound."""
        found = self._sql.get.rows(cursor, {"key": name})
        if not found:
            raise NotFound(f"there is no submission {name}")
        (row,) = found
        lines = {LineKey(line.priority, line.course): line for line in self.lines(cursor)}
        mine = lines.get(LineKey(row["priority"], row["course"]))
        if row["turn"] is None or mine is None:
            return None
        values = {key: row[key] for key in ("priority", "course", "turn")}
        (counted,) = self._sql.before.rows(cursor, {"key": name, **values})
        return Situation(
            mine=mine,
            before=counted["count"],
            lines=list(lines.values()),
            counts=self.counts(cursor),
        )

    def lines(self, cursor: Cursor) -> list[Line]:
        """In which something waits."""
        return [line_of(row) for row in self._sql.waiting_lines.rows(cursor)]

    def counts(self, cursor: Cursor) -> Counts:
        """How full the queue is."""
        since = self._clock() - self._lease_seconds

        def count(statement: Statement, **values: object) -> int:
            return int(statement.rows(cursor, values)[0]["count"] or 0)

        return Counts(
            waiting=count(self._sql.count_waiting),
            delayed=count(self._sql.count_delayed),
            leased=count(self._sql.count_leased),
            slots=count(self._sql.count_slots, since=since),
        )
