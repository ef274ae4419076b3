"""Webhooks as teachers make, change and look at them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from assay.domain.errors import InvalidInput, NotFound
from assay.domain.webhook import Delivery, Webhook, WebhookEvent
from assay.grading.webhooks.address import checked
from assay.grading.webhooks.signature import new_secret
from assay.storage.submissions.store import SubmissionStore

MOST_OF_COURSE: Final = 10
OVERLAP_SECONDS: Final = 86_400.0
"""How long a secret that was rotated signs beside its successor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is to be changed; None: nothing."""

    url: str | None = None
    events: Sequence[str] | None = None
    active: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Registrations:
    """Those of all courses."""

    store: SubmissionStore = field(repr=False)
    allowed: tuple[str, ...] = ()
    """Networks that are not public, and may be told all the same."""

    async def add(self, course: str, url: str, events: Sequence[str]) -> Webhook:
        """Make one, with a secret. Raises InvalidInput."""
        made = Webhook(
            id=uuid.uuid4().hex, course=course, url=checked(url, self.allowed),
            events=_events(events), secret=new_secret(), created_at=self.store.clock(),
        )  # fmt: skip
        await self.store.webhooks.add(made, most=MOST_OF_COURSE)
        return made

    async def all(self, course: str) -> list[Webhook]:
        """Those of a course."""
        return await self.store.webhooks.of_course(course)

    async def get(self, course: str, name: str) -> Webhook:
        """One of a course. Raises NotFound."""
        found = await self.store.webhooks.get(name)
        if found is None or found.course != course:
            raise NotFound(f"the course {course} has no webhook {name[:80]!r}")
        return found

    async def change(self, course: str, name: str, wanted: Wanted) -> Webhook:
        """Change some of it. Raises NotFound, InvalidInput."""
        await self.get(course, name)
        changes: dict[str, object] = {}
        if wanted.url is not None:
            changes["url"] = checked(wanted.url, self.allowed)
        if wanted.events is not None:
            changes["events"] = _events(wanted.events)
        if wanted.active is True:
            changes |= {"disabled_at": None, "failing_since": None, "reason": ""}
        elif wanted.active is False:
            changes |= {"disabled_at": self.store.clock(), "reason": "it was switched off"}
        return await self.store.webhooks.change(name, changes)

    async def rotate(self, course: str, name: str) -> Webhook:
        """Give it another secret; the one before signs too, for a day. Raises NotFound."""
        now = await self.get(course, name)
        changes = {
            "secret": new_secret(), "former_secret": now.secret,
            "former_until": self.store.clock() + OVERLAP_SECONDS,
        }  # fmt: skip
        return await self.store.webhooks.change(name, changes)

    async def remove(self, course: str, name: str) -> None:
        """Forget it, and what it was to be told. Raises NotFound."""
        await self.get(course, name)
        await self.store.webhooks.remove(name)

    async def test(self, course: str, name: str) -> str:
        """Send it something that says nothing; the message's id. Raises NotFound."""
        if (await self.get(course, name)).disabled_at is not None:
            raise InvalidInput("this webhook is disabled: switch it on first")
        return await self.store.webhooks.test(name)

    async def log(self, course: str, name: str, *, before: str | None, most: int) -> list[Delivery]:
        """Messages, the newest first. Raises NotFound."""
        await self.get(course, name)
        return await self.store.webhooks.log(name, before=before, most=most)


def _events(names: Sequence[str]) -> frozenset[WebhookEvent]:
    known = [event.value for event in WebhookEvent]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        raise InvalidInput(f"a webhook's events are some of {', '.join(known)}")
    return frozenset(WebhookEvent(name) for name in names)
