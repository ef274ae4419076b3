"""Where a course's platform wants to be told what has become of submissions."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

TEST: Final = "webhook.test"
"""The event that is sent when somebody asks for one."""


class WebhookEvent(StrEnum):
    """What is told of."""

    GRADED = "submission.graded"
    """It has its result."""
    FAILED = "submission.failed"
    """It could not be graded: every attempt failed, and not by the learner's fault."""
    CANCELLED = "submission.cancelled"


@dataclass(frozen=True, kw_only=True, slots=True)
class Webhook:
    """One registration. Times are in seconds since 1970 on the database's clock."""

    id: str
    course: str
    url: str
    events: frozenset[WebhookEvent]
    secret: bytes = field(repr=False)
    former_secret: bytes | None = field(default=None, repr=False)
    """The one before it was rotated; signs too, until `former_until`."""
    former_until: float | None = None
    created_at: float
    failing_since: float | None = None
    """Since then nothing got through; None: the last one did."""
    disabled_at: float | None = None
    """Nothing is sent, and nothing new is kept for it."""
    reason: str = ""
    """Why it is disabled."""


class DeliveryState(StrEnum):
    """What has become of one message."""

    WAITING = "waiting"
    SENDING = "sending"
    """A server has it; if that one is silent, it waits again."""
    DELIVERED = "delivered"
    FAILED = "failed"
    """Given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One message to one webhook."""

    id: str
    """Unguessable; those that came later are greater. The same in each attempt."""
    webhook: str
    submission: str
    """"": a test's."""
    event: str
    state: DeliveryState
    created_at: float
    attempts: int
    """How often it was taken to be sent; the latest is the one that counts."""
    not_before: float | None
    """When it may be taken again: by then, whoever has it is taken for dead."""
    finished_at: float | None
    last_status: int | None
    """Of HTTP; None: there was no answer, or no attempt yet."""
    last_error: str
