"""Every question and every write about campaigns; a write is done when it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Select

from assay.domain.campaign import Campaign, Chosen, Former, Item
from assay.domain.submission import Receipt, State, Submission
from assay.storage.kind import Cursor, Kind
from assay.storage.rows import AnyRow
from assay.storage.statements import Statement, Values
from assay.storage.submissions.campaign_statements import (
    Candidates,
    campaigns_asked,
    candidates_asked,
)
from assay.storage.submissions.campaign_steps import (
    Application,
    CampaignSteps,
    Outcome,
    campaign_of,
)
from assay.storage.submissions.rows import blob_in, fitting, submission_of

ITEMS_AT_ONCE: Final = 200
ITEM_BYTES: Final = 8 * 2**20
"""Of both results of items that are read at one time, if more than one: in one of them may be
megabytes of text."""
CANDIDATES_AT_ONCE: Final = 1000

T = TypeVar("T")


class Way(Protocol):
    """To the database: what is written, and what is asked."""

    def __call__(self, name: str, step: Callable[[Cursor], T], /) -> asyncio.Future[T]:
        """Do it in the storage's thread."""


class CampaignStore:
    """A part of the store of submissions."""

    def __init__(
        self,
        steps: CampaignSteps,
        *,
        write: Way,
        ask: Way,
        clock: Callable[[], float],
        kind: Kind,
    ) -> None:
        self._steps = steps
        self._sql = steps.sql
        self._write, self._ask = write, ask
        self._clock = clock
        self._kind = kind

    def start(self, campaign: Campaign, chosen: Sequence[Chosen]) -> asyncio.Future[Receipt]:
        """Keep it with all its gradings, or nothing. The future raises InvalidInput for its key."""
        return self._write(
            "start_campaign",
            lambda cursor: self._steps.start(cursor, campaign, chosen, self._clock()),
        )

    def apply(self, asked: Application, outcome: Outcome) -> asyncio.Future[Campaign]:
        """Let its results count, at once. The future raises NotFound and Conflict."""
        return self._write(
            "apply_campaign",
            lambda cursor: self._steps.apply(cursor, asked, outcome, self._clock()),
        )

    def discard(self, name: str, by: str) -> asyncio.Future[Campaign]:
        """End it. The future raises NotFound and Conflict."""
        return self._write(
            "discard_campaign",
            lambda cursor: self._steps.discard(cursor, name, by, self._clock()),
        )

    def get(self, name: str) -> asyncio.Future[Campaign | None]:
        """One of them."""

        def get(cursor: Cursor) -> Campaign | None:
            found = self._sql.get.rows(cursor, {"key": name})
            return campaign_of(found[0]) if found else None

        return self._ask("get_campaign", get)

    def keyed(self, owner: str, key: str) -> asyncio.Future[Campaign | None]:
        """The one of this key."""

        def get(cursor: Cursor) -> Campaign | None:
            found = self._sql.keyed.rows(cursor, {"owner": owner, "key": key})
            return campaign_of(found[0]) if found else None

        return self._ask("get_campaign", get)

    def page(
        self, *, courses: Sequence[str] | None, before: str | None, most: int
    ) -> asyncio.Future[list[Campaign]]:
        """The newest first; `before` is the last id of the page before. None: of all courses."""
        return self._rows("list_campaigns", campaigns_asked(courses, before, most), campaign_of)

    def candidates(
        self, wanted: Candidates, *, after: Submission | None = None
    ) -> asyncio.Future[list[Submission]]:
        """A page of what was graded, by task, learner and time; `after`: the last one before."""
        asked = candidates_asked(wanted, after, CANDIDATES_AT_ONCE)
        return self._rows("list_candidates", asked, submission_of)

    def counts(self, name: str) -> asyncio.Future[dict[str, int]]:
        """How many gradings are in each state, by its name."""
        return self._ask("count_campaign", lambda cursor: self._steps.counts(cursor, name))

    def last_waiting(self, name: str) -> asyncio.Future[str | None]:
        """The grading of it that will be handed out last; None: none waits in a line."""

        def last(cursor: Cursor) -> str | None:
            found = self._sql.last_waiting.rows(cursor, {"key": name})
            return str(found[0]["id"]) if found else None

        return self._ask("last_of_campaign", last)

    def of_run(self, run: str) -> asyncio.Future[str | None]:
        """The id of the campaign that a grading belongs to."""

        def find(cursor: Cursor) -> str | None:
            found = self._sql.of_run.rows(cursor, {"key": run})
            return str(found[0]["campaign"]) if found else None

        return self._ask("campaign_of_run", find)

    def items(self, name: str, *, after: str = "") -> asyncio.Future[list[Item]]:
        """Some of its submissions, in order; `after` is the last one before."""
        values = {"key": name, "after": after, "most": ITEMS_AT_ONCE}

        def read(cursor: Cursor) -> list[Item]:
            found = self._sql.items.rows(cursor, values)
            rows = found[: fitting([row.pop("size") for row in found], ITEM_BYTES)]
            asked: list[Values] = [{"key": row["run"]} for row in rows]
            old = self._sql.old.rows_of_each(self._kind, cursor, asked)
            new = self._sql.new.rows_of_each(self._kind, cursor, asked)
            return [_item_of(*each) for each in zip(rows, old, new, strict=True)]

        return self._ask("list_items", read)

    def history(self, submission: str) -> asyncio.Future[list[Former]]:
        """The results that campaigns have replaced, the oldest first."""

        def read(cursor: Cursor) -> list[Former]:
            return [_former_of(row) for row in self._sql.history.rows(cursor, {"key": submission})]

        return self._ask("read_history", read)

    def _rows(
        self, name: str, asked: Select[Any], made: Callable[[AnyRow], T]
    ) -> asyncio.Future[list[T]]:
        statement = Statement(asked, self._kind.engine.dialect)
        return self._ask(name, lambda cursor: [made(row) for row in statement.rows(cursor)])


def _item_of(row: AnyRow, old: Sequence[AnyRow], new: Sequence[AnyRow]) -> Item:
    results = {name: blob_in(rows, "result") for name, rows in {"old": old, "new": new}.items()}
    return Item(**{**row, **results, "state": State(row["state"])})


def _former_of(row: AnyRow) -> Former:
    known = {name: value for name, value in row.items() if name != "submission"}
    return Former(**{**known, "result": bytes(row["result"])})
