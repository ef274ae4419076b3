"""What is asked and written about webhooks, over the connections of the submissions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import bindparam, delete, func, insert, select, update

from assay.domain.errors import InvalidInput, NotFound
from assay.domain.webhook import TEST, Delivery, Webhook
from assay.storage.kind import Cursor, Kind
from assay.storage.statements import KEY, Statement
from assay.storage.submissions.outbox import Outbox, delivery_of, delivery_values, webhook_of
from assay.storage.tables import DELIVERY, WEBHOOK

T = TypeVar("T")
MOST_LISTED: Final = 1000
PURGED_AT_ONCE: Final = 500
_CHANGEABLE: Final = (
    "url", "events", "secret", "former_secret", "former_until", "failing_since", "disabled_at",
    "reason",
)  # fmt: skip


class Do(Protocol):
    """Has a step done in a transaction."""

    def __call__(self, name: str, step: Callable[[Cursor], T], /) -> asyncio.Future[T]:
        """`name`: for who observes."""


class Webhooks:
    """Futures are done when what was written is durable."""

    def __init__(
        self, write: Do, ask: Do, outbox: Outbox, reading: Kind, clock: Callable[[], float]
    ) -> None:
        self._write, self._ask, self._outbox, self._clock = write, ask, outbox, clock
        dialect = reading.engine.dialect
        self._insert = Statement(insert(WEBHOOK), dialect)
        self._get = Statement(select(WEBHOOK).where(WEBHOOK.c.id == KEY), dialect)
        ordered = select(WEBHOOK).order_by(WEBHOOK.c.id)
        self._list = Statement(ordered.where(WEBHOOK.c.course == KEY), dialect)
        changes: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _CHANGEABLE}
        self._change = Statement(
            update(WEBHOOK).where(WEBHOOK.c.id == KEY).values(changes), dialect
        )
        self._remove = [
            Statement(delete(DELIVERY).where(DELIVERY.c.webhook == KEY), dialect),
            Statement(delete(WEBHOOK).where(WEBHOOK.c.id == KEY), dialect),
        ]
        self._log = Statement(
            select(DELIVERY)
            .where(DELIVERY.c.webhook == KEY, DELIVERY.c.id < bindparam("before"))
            .order_by(DELIVERY.c.id.desc())
            .limit(bindparam("most")),
            dialect,
        )
        self._count = Statement(
            select(func.count().label("count")).where(WEBHOOK.c.course == KEY), dialect
        )
        # The first of each webhook is found by an index, however many wait behind it.
        first = (
            select(DELIVERY.c.not_before)
            .where(DELIVERY.c.webhook == WEBHOOK.c.id, DELIVERY.c.not_before.is_not(None))
            .order_by(DELIVERY.c.not_before)
            .limit(1)
            .scalar_subquery()
            .label("at")
        )
        firsts = select(first).where(WEBHOOK.c.disabled_at.is_(None)).subquery()
        self._next = Statement(select(func.min(firsts.c.at).label("at")), dialect)
        old = (
            select(DELIVERY.c.id)
            .where(DELIVERY.c.finished_at < bindparam("before"))
            .order_by(DELIVERY.c.finished_at)
            .limit(PURGED_AT_ONCE)
        )
        self._purge = Statement(delete(DELIVERY).where(DELIVERY.c.id.in_(old)), dialect)

    # --- registrations ---

    def add(self, webhook: Webhook, *, most: int) -> asyncio.Future[None]:
        """Keep a new one. The future raises InvalidInput if its course has so many already."""
        values = _values(webhook)

        def add(cursor: Cursor) -> None:
            if self._count.rows(cursor, {"key": webhook.course})[0]["count"] >= most:
                raise InvalidInput(f"a course has at most {most} webhooks: remove one")
            self._insert.run(cursor, values)

        return self._write("add_webhook", add)

    def of_course(self, course: str) -> asyncio.Future[list[Webhook]]:
        """All of a course, the oldest first."""

        def read(cursor: Cursor) -> list[Webhook]:
            return [webhook_of(row) for row in self._list.rows(cursor, {"key": course})]

        return self._ask("list_webhooks", read)

    def get(self, name: str) -> asyncio.Future[Webhook | None]:
        """One of them."""

        def read(cursor: Cursor) -> Webhook | None:
            found = self._get.rows(cursor, {"key": name})
            return webhook_of(found[0]) if found else None

        return self._ask("get_webhook", read)

    def change(self, name: str, changes: Mapping[str, object]) -> asyncio.Future[Webhook]:
        """Replace some of its fields; what it is now. The future raises NotFound."""

        def change(cursor: Cursor) -> Webhook:
            found = self._get.rows(cursor, {"key": name})
            if not found:
                raise NotFound(f"there is no webhook {name}")
            webhook = replace(webhook_of(found[0]), **changes)  # type: ignore[arg-type]
            values = _values(webhook)
            new = {f"new_{each}": values[each] for each in _CHANGEABLE}
            self._change.run(cursor, {"key": name, **new})
            return webhook

        return self._write("change_webhook", change)

    def remove(self, name: str) -> asyncio.Future[bool]:
        """Forget one with its messages; whether it was there."""

        def remove(cursor: Cursor) -> bool:
            return [each.run(cursor, {"key": name}) for each in self._remove][-1] > 0

        return self._write("remove_webhook", remove)

    # --- messages ---

    def test(self, name: str) -> asyncio.Future[str]:
        """Keep a message that is only a test; its id."""
        values = delivery_values(name, "", TEST, self._clock())

        def put(cursor: Cursor) -> str:
            self._outbox.put(cursor, values)
            return str(values["id"])

        return self._write("test_webhook", put)

    def log(
        self, name: str, *, before: str | None = None, most: int = 100
    ) -> asyncio.Future[list[Delivery]]:
        """Messages to one, the newest first; `before` is the last id of the page before."""
        asked = {"key": name, "before": before or "g", "most": min(most, MOST_LISTED)}

        def read(cursor: Cursor) -> list[Delivery]:
            return [delivery_of(row) for row in self._log.rows(cursor, asked)]

        return self._ask("list_deliveries", read)

    def next_at(self) -> asyncio.Future[float | None]:
        """When something is to be sent."""
        return self._ask("next_delivery", lambda cursor: self._next.rows(cursor)[0]["at"])

    def claim(
        self, busy: Mapping[str, int], most: int, seconds: float
    ) -> asyncio.Future[list[tuple[Webhook, Delivery]]]:
        """What is to be sent now; nobody else has it for so long. See `Outbox.claim`."""

        def claim(cursor: Cursor) -> list[tuple[Webhook, Delivery]]:
            now = self._clock()
            taken = self._outbox.claim(cursor, busy, most, now, now + seconds)
            return [(hook, replace(each, attempts=each.attempts + 1)) for hook, each in taken]

        return self._write("claim_deliveries", claim)

    def delivered(self, delivery: Delivery, status: int) -> asyncio.Future[bool]:
        """It has arrived."""

        def say(cursor: Cursor) -> bool:
            return self._outbox.delivered(cursor, delivery, status, self._clock())

        return self._write("delivered", say)

    def put_off(
        self, delivery: Delivery, status: int | None, error: str, seconds: float
    ) -> asyncio.Future[bool]:
        """It has not, and is sent again after so long."""

        def say(cursor: Cursor) -> bool:
            now = self._clock()
            return self._outbox.put_off(
                cursor, delivery, status, error, until=now + seconds, now=now
            )

        return self._write("put_off_delivery", say)

    def give_up(
        self, delivery: Delivery, status: int | None, error: str, *, disable: str = ""
    ) -> asyncio.Future[bool]:
        """It never will; `disable`: why nothing more is to be sent there."""

        def say(cursor: Cursor) -> bool:
            return self._outbox.give_up(
                cursor, delivery, status, error, disable=disable, now=self._clock()
            )

        return self._write("give_up_delivery", say)

    def purge(self, before: float) -> asyncio.Future[int]:
        """Forget some of the messages that were over before then; how many."""
        return self._write(
            "purge_deliveries", lambda cursor: self._purge.run(cursor, {"before": before})
        )


def _values(webhook: Webhook) -> dict[str, Any]:
    return {**asdict(webhook), "events": " ".join(sorted(webhook.events))}
