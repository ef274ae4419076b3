"""The pool as server-sent events, whenever it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiohttp import web

from assay.api.answers import encode
from assay.api.listeners import State
from assay.api.route import Call, Route
from assay.api.streamed import event_stream
from assay.domain.errors import Draining


class PoolState(msgspec.Struct, rename="camel", kw_only=True):
    """One environment's part of the pool."""

    target: int
    """Idle sandboxes that are wanted."""
    idle: int
    """Those that can be claimed at once."""
    creating: int
    checking: int
    waiting: int
    """Claims that wait for a sandbox."""
    used: int
    """Sandboxes that somebody has."""
    last_error: str | None
    """Why the last attempt to make one failed."""


class PoolAnswer(msgspec.Struct, kw_only=True):
    """The pool, by the names of environments."""

    environments: dict[str, PoolState]


class QueueState(msgspec.Struct, kw_only=True):
    """Who waits for a sandbox: how many in all, and for which environments."""

    waiting: int
    environments: dict[str, int]


def pool_state(statistics: Mapping[str, Any]) -> dict[str, PoolState]:
    """What is shown of a pool's statistics."""
    return {
        name: PoolState(
            target=each.target,
            idle=each.idle,
            creating=each.creating,
            checking=each.checking,
            waiting=each.waiting,
            used=each.used,
            last_error=each.last_error or None,
        )
        for name, each in sorted(statistics.items())
    }


def queue_state(statistics: Mapping[str, Any]) -> QueueState:
    """Who waits, of a pool's statistics."""
    waiting = {name: each.waiting for name, each in sorted(statistics.items()) if each.waiting}
    return QueueState(waiting=sum(waiting.values()), environments=waiting)


async def _events(call: Call) -> web.StreamResponse:
    services = call.services

    def look() -> State:
        statistics = services.pool.statistics()
        return {
            "pool": encode(PoolAnswer(environments=pool_state(statistics))),
            "queue": encode(queue_state(statistics)),
        }

    if not services.ready():
        raise Draining("the server starts, or is about to stop")
    events = services.listeners.changes(look, services.ready)
    first = await anext(events)
    response = event_stream()
    try:
        await response.prepare(call.request)
        await response.write(first)
        async for event in events:
            await response.write(event)
    finally:
        await events.aclose()
    return response


ROUTES: Final = (
    Route(
        method="GET",
        path="/events",
        handler=_events,
        summary="Server-sent events: `pool` and `queue`, twice a second at most, `end` at the end",
        scope="admin",
        responses={200: bytes},
        problems=(429, 503),
    ),
)
