"""Webhooks of a course: who is told what became of its submissions."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import msgspec
from aiohttp import web

from assay.api.answers import empty, json, time_of, time_or_none
from assay.api.courses import desk_of
from assay.api.route import Call, Parameter, Route
from assay.domain.webhook import Delivery, Webhook
from assay.grading.webhooks.registrations import Registrations, Wanted
from assay.grading.webhooks.signature import shown

_COURSE: Final = "/courses/{course}/webhooks"
_ONE: Final = "/courses/{course}/webhooks/{webhook_id}"


class NewWebhook(msgspec.Struct, kw_only=True):
    """Where messages are to go, and about what."""

    url: str
    events: list[str] = msgspec.field(
        default_factory=lambda: ["submission.graded", "submission.failed"]
    )


class WebhookChanges(msgspec.Struct, kw_only=True):
    """What is left out stays."""

    url: str | None = None
    events: list[str] | None = None
    active: bool | None = None


class WebhookAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A webhook."""

    id: str
    url: str
    events: list[str]
    active: bool
    created_at: datetime
    failing_since: datetime | None
    """Since then nothing has arrived; null: the last one did."""
    disabled_at: datetime | None
    reason: str
    """Why it is disabled."""
    secret: str | None = None
    """Shown when it is made, and when it is rotated; at no other time."""


class WebhookList(msgspec.Struct, kw_only=True):
    """Those of a course, the oldest first."""

    webhooks: list[WebhookAnswer]


class DeliveryAnswer(msgspec.Struct, rename="camel", kw_only=True):
    """A message, and what has become of it."""

    id: str
    """What its `webhook-id` is."""
    event: str
    submission: str | None
    state: str
    """waiting, sending, delivered or failed."""
    attempts: int
    created_at: datetime
    next_at: datetime | None
    """When it is tried again, at the latest."""
    finished_at: datetime | None
    last_status: int | None
    last_error: str


class DeliveryList(msgspec.Struct, kw_only=True):
    """Messages, the newest first."""

    deliveries: list[DeliveryAnswer]


class TestSent(msgspec.Struct, kw_only=True):
    """A message is on its way."""

    id: str


def _registrations(call: Call) -> Registrations:
    return Registrations(
        store=desk_of(call).submissions.store, allowed=call.services.settings.webhook_networks
    )


def _names(call: Call) -> tuple[str, str]:
    found = call.request.match_info
    return found["course"], found["webhook_id"]


async def _make(call: Call) -> web.StreamResponse:
    asked: NewWebhook = call.body
    course = desk_of(call).courses.get(call.request.match_info["course"])
    made = await _registrations(call).add(course.id, asked.url, asked.events)
    return _with_secret(made, status=201)


async def _list(call: Call) -> web.StreamResponse:
    course = desk_of(call).courses.get(call.request.match_info["course"])
    found = await _registrations(call).all(course.id)
    return json(WebhookList(webhooks=[_answer(each) for each in found]))


async def _get(call: Call) -> web.StreamResponse:
    return json(_answer(await _registrations(call).get(*_names(call))))


async def _change(call: Call) -> web.StreamResponse:
    asked: WebhookChanges = call.body
    wanted = Wanted(url=asked.url, events=asked.events, active=asked.active)
    return json(_answer(await _registrations(call).change(*_names(call), wanted)))


async def _remove(call: Call) -> web.StreamResponse:
    await _registrations(call).remove(*_names(call))
    return empty()


async def _rotate(call: Call) -> web.StreamResponse:
    return _with_secret(await _registrations(call).rotate(*_names(call)), status=200)


async def _test(call: Call) -> web.StreamResponse:
    name = await _registrations(call).test(*_names(call))
    return json(TestSent(id=f"msg_{name}"), status=202)


async def _deliveries(call: Call) -> web.StreamResponse:
    before = call.request.query.get("before")
    found = await _registrations(call).log(
        *_names(call), before=before and before.removeprefix("msg_"), most=call.most
    )
    return json(DeliveryList(deliveries=[_delivery(each) for each in found]))


def _with_secret(webhook: Webhook, *, status: int) -> web.Response:
    answer = _answer(webhook)
    answer.secret = shown(webhook.secret)
    response = json(answer, status=status)
    response.headers["Cache-Control"] = "no-store"
    return response


def _answer(webhook: Webhook) -> WebhookAnswer:
    return WebhookAnswer(
        id=webhook.id,
        url=webhook.url,
        events=sorted(webhook.events),
        active=webhook.disabled_at is None,
        created_at=time_of(webhook.created_at),
        failing_since=time_or_none(webhook.failing_since),
        disabled_at=time_or_none(webhook.disabled_at),
        reason=webhook.reason,
    )


def _delivery(each: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(
        id=f"msg_{each.id}",
        event=each.event,
        submission=each.submission or None,
        state=each.state,
        attempts=each.attempts,
        created_at=time_of(each.created_at),
        next_at=time_or_none(each.not_before),
        finished_at=time_or_none(each.finished_at),
        last_status=each.last_status,
        last_error=each.last_error,
    )


ROUTES: Final = (
    Route(
        method="POST",
        path=_COURSE,
        handler=_make,
        summary="Register a webhook; its secret is in this answer only",
        scope="teach",
        request=NewWebhook,
        responses={201: WebhookAnswer},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path=_COURSE,
        handler=_list,
        summary="Webhooks of a course, without secrets",
        scope="teach",
        responses={200: WebhookList},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path=_ONE,
        handler=_get,
        summary="A webhook, and whether messages arrive",
        scope="teach",
        responses={200: WebhookAnswer},
        problems=(404, 503),
    ),
    Route(
        method="PATCH",
        path=_ONE,
        handler=_change,
        summary="Change a webhook, or switch it off and on",
        scope="teach",
        request=WebhookChanges,
        responses={200: WebhookAnswer},
        problems=(404, 503),
    ),
    Route(
        method="DELETE",
        path=_ONE,
        handler=_remove,
        summary="Forget a webhook, and what it was to be told",
        scope="teach",
        responses={204: None},
        problems=(404, 503),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/rotate",
        handler=_rotate,
        summary="Give a webhook another secret; both sign for a day",
        scope="teach",
        responses={200: WebhookAnswer},
        problems=(404, 503),
    ),
    Route(
        method="POST",
        path=f"{_ONE}/test",
        handler=_test,
        summary="Send a message that says nothing",
        scope="teach",
        responses={202: TestSent},
        problems=(404, 503),
    ),
    Route(
        method="GET",
        path=f"{_ONE}/deliveries",
        handler=_deliveries,
        summary="Messages of the last week, the newest first",
        scope="teach",
        parameters=(
            Parameter(name="before", summary="Older than this one, the last of the page before"),
            Parameter(name="most", summary="How many at most", type=int, default=100),
        ),
        responses={200: DeliveryList},
        problems=(404, 503),
    ),
)
