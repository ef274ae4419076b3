"""Takes what is to be told out of the database, and tells it: at least once, whoever is killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from assay.domain.errors import AssayError
from assay.domain.webhook import TEST, Delivery, Webhook
from assay.grading.submissions import Submissions
from assay.grading.webhooks.message import message_of, test_of
from assay.grading.webhooks.post import Answer
from assay.grading.webhooks.retry import Again, after_failure
from assay.grading.webhooks.signature import fields

LEASE_SECONDS: Final = 60.0
"""How long a message is its taker's: an attempt takes ten at most."""
_LOOK_SECONDS: Final = 1.0
_OF_ONE: Final = 4
"""Messages to one webhook at one time; one, while it fails."""
_OF_ALL: Final = 500
_KEPT_SECONDS: Final = 7 * 86_400.0
"""How long the log is kept."""
_PURGE_SECONDS: Final = 3600.0


class Post(Protocol):
    """Sends one request."""

    def __call__(
        self, url: str, body: bytes, fields: dict[str, str], /,
        *, course: str, allowed: Sequence[str],
    ) -> Awaitable[Answer]:  # fmt: skip
        """Never raises for what the receiver does."""


class Sender:
    """Run it as `await sender.run()`, until it is cancelled."""

    def __init__(
        self,
        submissions: Submissions,
        post: Post,
        *,
        allowed: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`allowed`: networks that are not public, and may be told all the same."""
        self._submissions = submissions
        self._webhooks = submissions.store.webhooks
        self._post = post
        self._allowed = allowed
        self._clock = clock
        self._busy: Counter[str] = Counter()
        self._sending: set[asyncio.Task[None]] = set()
        self._freed = asyncio.Event()
        self._purged_at = 0.0

    async def run(self) -> None:
        """What is under way when it is cancelled is sent again, by whoever is next."""
        try:
            while True:
                with contextlib.suppress(AssayError):  # told to who observes the database
                    await self._look()
                await self._pause()
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    async def _pause(self) -> None:
        self._freed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._freed.wait()

    async def _look(self) -> None:
        store = self._submissions.store
        is_due = time.monotonic() - self._purged_at > _PURGE_SECONDS
        # Some at each look: others want the database, too.
        if is_due and not await self._webhooks.purge(store.clock() - _KEPT_SECONDS):
            self._purged_at = time.monotonic()
        at = await self._webhooks.next_at()
        if at is None or at > store.clock() or len(self._sending) >= _OF_ALL:
            return
        self._busy = +self._busy  # without those that have ended
        for webhook, delivery in await self._webhooks.claim(self._busy, _OF_ONE, LEASE_SECONDS):
            self._begin(webhook, delivery)

    def _begin(self, webhook: Webhook, delivery: Delivery) -> None:
        self._busy[webhook.id] += 1
        task = asyncio.create_task(self._deliver(webhook, delivery))
        self._sending.add(task)

        def end(done: asyncio.Task[None]) -> None:
            self._sending.discard(done)
            self._busy[webhook.id] -= 1
            self._freed.set()

        task.add_done_callback(end)

    async def _deliver(self, webhook: Webhook, delivery: Delivery) -> None:
        with contextlib.suppress(AssayError):  # then its lease ends by itself
            body = await self._body(webhook, delivery)
            if body is None:
                await self._webhooks.give_up(delivery, None, "the submission is not kept any more")
                return
            answer = await self._post(
                webhook.url, body, self._fields(webhook, delivery, body),
                course=webhook.course, allowed=self._allowed,
            )  # fmt: skip
            await self._note(webhook, delivery, answer)

    async def _body(self, webhook: Webhook, delivery: Delivery) -> bytes | None:
        if delivery.event == TEST:
            return test_of(webhook, delivery)
        found = await self._submissions.store.get(delivery.submission)
        return None if found is None else message_of(delivery, found)

    def _fields(self, webhook: Webhook, delivery: Delivery, body: bytes) -> dict[str, str]:
        keys = [webhook.secret]
        until = webhook.former_until
        if webhook.former_secret and until and until > self._submissions.store.clock():
            keys.append(webhook.former_secret)
        return fields(keys, f"msg_{delivery.id}", int(self._clock()), body)

    async def _note(self, webhook: Webhook, delivery: Delivery, answer: Answer) -> None:
        if answer.arrived:
            assert answer.status is not None
            await self._webhooks.delivered(delivery, answer.status)
            return
        fate = after_failure(
            attempts=delivery.attempts, status=answer.status, created_at=delivery.created_at,
            failing_since=webhook.failing_since, spread=random.random(),
            retry_after=answer.retry_after,
        )  # fmt: skip
        if isinstance(fate, Again):
            await self._webhooks.put_off(delivery, answer.status, answer.error, fate.after_seconds)
        else:
            await self._webhooks.give_up(
                delivery, answer.status, answer.error, disable=fate.disable
            )
