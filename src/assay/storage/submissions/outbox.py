"""Messages to webhooks, written in the transaction in which a submission is over.

So a server that is killed at any moment has either told nobody that the grade is there, or will.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Select, bindparam, delete, insert, null, select, update
from sqlalchemy.sql.dml import UpdateBase

from assay.domain.submission import State
from assay.domain.webhook import Delivery, DeliveryState, Webhook, WebhookEvent
from assay.storage.kind import Cursor, Kind
from assay.storage.rows import AnyRow
from assay.storage.statements import KEY, Statement, Values
from assay.storage.submissions.rows import new_id
from assay.storage.tables import DELIVERY, WEBHOOK

_EVENTS: Final[Mapping[State, WebhookEvent]] = {
    State.DONE: WebhookEvent.GRADED,
    State.FAILED: WebhookEvent.FAILED,
    State.CANCELLED: WebhookEvent.CANCELLED,
}
_D: Final = DELIVERY.c


class Outbox:
    """Shares the thread and the transactions of the other steps."""

    def __init__(self, kind: Kind) -> None:
        dialect = kind.engine.dialect

        def compiled(statement: UpdateBase | Select[Any]) -> Statement:
            return Statement(statement, dialect)

        self._kind = kind
        self._of_course = compiled(
            select(WEBHOOK).where(WEBHOOK.c.course == KEY, WEBHOOK.c.disabled_at.is_(None))
        )
        self._active = compiled(
            select(WEBHOOK).where(WEBHOOK.c.disabled_at.is_(None)).order_by(WEBHOOK.c.id)
        )
        self._add = compiled(insert(DELIVERY))
        self._due = compiled(
            select(DELIVERY)
            .where(_D.webhook == KEY, _D.not_before <= bindparam("now"))
            .order_by(_D.not_before, _D.id)
            .limit(bindparam("most"))
        )
        self._sending = compiled(
            select(_D.id)
            .where(
                _D.webhook == KEY,
                _D.not_before > bindparam("now"),
                _D.state == DeliveryState.SENDING.value,
            )
            .limit(1)
        )
        mine = (_D.id == KEY, _D.attempts == bindparam("nth"), _D.not_before.is_not(None))
        self._take = compiled(
            update(DELIVERY)
            .where(*mine)
            .values(
                attempts=_D.attempts + 1,
                not_before=bindparam("until"),
                state=DeliveryState.SENDING.value,
            )
        )
        said: dict[str, Any] = {
            "state": bindparam("new_state"),
            "last_status": bindparam("status"),
            "last_error": bindparam("error"),
        }
        self._again = compiled(
            update(DELIVERY).where(*mine).values({**said, "not_before": bindparam("until")})
        )
        self._over = compiled(
            update(DELIVERY)
            .where(*mine)
            .values({**said, "not_before": null(), "finished_at": bindparam("now")})
        )
        self._works = compiled(
            update(WEBHOOK).where(WEBHOOK.c.id == KEY).values(failing_since=null())
        )
        self._fails = compiled(
            update(WEBHOOK)
            .where(WEBHOOK.c.id == KEY, WEBHOOK.c.failing_since.is_(None))
            .values(failing_since=bindparam("now"))
        )
        self._disable = compiled(
            update(WEBHOOK)
            .where(WEBHOOK.c.id == KEY, WEBHOOK.c.disabled_at.is_(None))
            .values(disabled_at=bindparam("now"), reason=bindparam("why"))
        )
        self.forget = compiled(delete(DELIVERY).where(_D.submission == KEY))
        """With a submission go the messages about it."""

    def add(self, cursor: Cursor, over: Iterable[tuple[str, str, State]], now: float) -> None:
        """Keep a message for each webhook that wants to know; `over`: id, course, state."""
        over = list(over)
        courses = list(dict.fromkeys(course for _, course, _ in over))
        asked: list[Values] = [{"key": course} for course in courses]
        found = self._of_course.rows_of_each(self._kind, cursor, asked)
        webhooks = {
            course: [webhook_of(row) for row in rows]
            for course, rows in zip(courses, found, strict=True)
        }
        self._add.run_all(
            cursor,
            [
                delivery_values(webhook.id, submission, _EVENTS[state], now)
                for submission, course, state in over
                for webhook in webhooks[course]
                if _EVENTS[state] in webhook.events
            ],
        )

    def put(self, cursor: Cursor, values: Values) -> None:
        """Keep one message."""
        self._add.run(cursor, values)

    def claim(
        self, cursor: Cursor, busy: Mapping[str, int], most: int, now: float, until: float
    ) -> list[tuple[Webhook, Delivery]]:
        """What is to be sent now, for whoever asks alone, until then.

        `busy`: how many the asker has of a webhook; `most`: how many it may have. Of one that
        fails, all servers together have one. Each webhook is asked for by itself: a long queue of
        one keeps no other's back.
        """
        taken = []
        for webhook in [webhook_of(row) for row in self._active.rows(cursor)]:
            room = most - busy.get(webhook.id, 0)
            if webhook.failing_since is not None:
                sent = self._sending.rows(cursor, {"key": webhook.id, "now": now})
                room = min(room, 1 - len(sent))
            if room > 0:
                asked = {"key": webhook.id, "now": now, "most": room}
                rows = self._due.rows(cursor, asked)
                taken += [(webhook, delivery_of(row)) for row in rows]
        marks: Sequence[Values] = [
            {"key": each.id, "nth": each.attempts, "until": until} for _, each in taken
        ]
        self._take.run_all(cursor, marks)
        return taken

    def delivered(self, cursor: Cursor, delivery: Delivery, status: int, now: float) -> bool:
        """Note that it has arrived; whether it was still the asker's."""
        values = {**_said(delivery, status, ""), "new_state": DeliveryState.DELIVERED.value}
        self._works.run(cursor, {"key": delivery.webhook})
        return self._over.run(cursor, {**values, "now": now}) > 0

    def put_off(
        self, cursor: Cursor, delivery: Delivery, status: int | None, error: str,
        *, until: float, now: float,
    ) -> bool:  # fmt: skip
        """Note that it did not arrive, and is sent again then."""
        values = {**_said(delivery, status, error), "new_state": DeliveryState.WAITING.value}
        self._fails.run(cursor, {"key": delivery.webhook, "now": now})
        return self._again.run(cursor, {**values, "until": until}) > 0

    def give_up(
        self, cursor: Cursor, delivery: Delivery, status: int | None, error: str,
        *, disable: str, now: float,
    ) -> bool:  # fmt: skip
        """Note that it never arrives; with `disable`, the reason, nor does anything else."""
        values = {**_said(delivery, status, error), "new_state": DeliveryState.FAILED.value}
        self._fails.run(cursor, {"key": delivery.webhook, "now": now})
        if disable:
            self._disable.run(cursor, {"key": delivery.webhook, "now": now, "why": disable})
        return self._over.run(cursor, {**values, "now": now}) > 0


def _said(delivery: Delivery, status: int | None, error: str) -> dict[str, object]:
    return {"key": delivery.id, "nth": delivery.attempts, "status": status, "error": error}


def delivery_values(webhook: str, submission: str, event: str, now: float) -> dict[str, object]:
    """A new message as a row."""
    return {
        "id": new_id(now), "webhook": webhook, "submission": submission, "event": str(event),
        "state": DeliveryState.WAITING.value, "created_at": now, "attempts": 0, "not_before": now,
        "finished_at": None, "last_status": None, "last_error": "",
    }  # fmt: skip


def webhook_of(row: AnyRow) -> Webhook:
    """A row as a webhook."""
    events = frozenset(WebhookEvent(name) for name in row["events"].split())
    former = row["former_secret"]
    return Webhook(**{
        **row, "events": events, "secret": bytes(row["secret"]),
        "former_secret": None if former is None else bytes(former),
    })  # fmt: skip


def delivery_of(row: AnyRow) -> Delivery:
    """A row as a message."""
    return Delivery(**{**row, "state": DeliveryState(row["state"])})
