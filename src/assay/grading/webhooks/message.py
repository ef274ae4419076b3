"""What a message says: ids, the grade, where the rest is; nothing that a learner wrote."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from assay.domain.submission import Submission
from assay.domain.webhook import Delivery, Webhook


class Links(msgspec.Struct, kw_only=True):
    """Paths on the server."""

    submission: str


class Data(msgspec.Struct, rename="camel", kw_only=True):
    """The submission, as it is when this is sent: a campaign may have replaced its grade."""

    submission: str
    course: str
    task: str
    learner: str
    state: str
    verdict: str | None
    grade: float | None
    """From 0 to 100; null: there is none."""
    attempts: int
    submitted_at: datetime
    finished_at: datetime | None
    links: Links


class Test(msgspec.Struct, kw_only=True):
    """Only to see whether it arrives."""

    course: str
    webhook: str


class Message(msgspec.Struct, kw_only=True):
    """The body of a request."""

    type: str
    timestamp: datetime
    """When it happened; that of the attempt is in its header."""
    data: Data | Test


def test_of(webhook: Webhook, delivery: Delivery) -> bytes:
    """A message that says nothing."""
    return _encoded(delivery, Test(course=webhook.course, webhook=webhook.id))


def message_of(delivery: Delivery, submission: Submission) -> bytes:
    """The body; the same for each attempt, for what is over stays as it is."""
    return _encoded(
        delivery,
        Data(
            submission=submission.id,
            course=submission.course,
            task=submission.task,
            learner=submission.learner,
            state=submission.state,
            verdict=submission.verdict,
            grade=submission.grade,
            attempts=submission.attempts,
            submitted_at=_time(submission.submitted_at),
            finished_at=None if submission.finished_at is None else _time(submission.finished_at),
            links=Links(submission=f"/api/v1/submissions/{submission.id}"),
        ),
    )


def _encoded(delivery: Delivery, data: Data | Test) -> bytes:
    return msgspec.json.encode(
        Message(type=delivery.event, timestamp=_time(delivery.created_at), data=data)
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
