"""Whether the server lives, what it is, and how full its pools are."""

from __future__ import annotations

from typing import Final

import msgspec
from aiohttp import web

from assay.api.answers import empty, json
from assay.api.events import PoolAnswer, pool_state
from assay.api.route import Call, Route
from assay.api.services import Services


class PoolOf(msgspec.Struct, rename="camel"):
    """Poseidon's statistics of one environment."""

    id: int
    prewarming_pool_size: int
    idle_runners: int
    used_runners: int


class Depleting(msgspec.Struct, rename="camel"):
    """Poseidon's answer when a pool runs dry."""

    message: str
    error_code: str = "PREWARMING_POOL_DEPLETING"


async def _health(call: Call) -> web.StreamResponse:
    low = _depleting(call.services)
    if not low:
        return empty()
    names = ", ".join(low)
    return json(Depleting(f"the prewarming pool is depleting: environments {names}"), status=503)


def _depleting(services: Services) -> list[str]:
    threshold = services.settings.depleting_below
    if threshold <= 0:
        return []
    idle = {name: counts.idle for name, counts in services.pool.statistics().items()}
    return [
        each.name
        for each in services.environments.all()
        if each.pool_size and idle.get(each.name, 0) / each.pool_size < threshold
    ]


async def _version(call: Call) -> web.StreamResponse:
    return json(call.services.version)


async def _statistics(call: Call) -> web.StreamResponse:
    counts = call.services.pool.statistics()
    found: dict[str, PoolOf] = {}
    for each in call.services.environments.all():
        if each.name.isdecimal():  # Poseidon's ids are numbers, and nothing else is known to it
            now = counts.get(each.name)
            found[each.name] = PoolOf(
                id=int(each.name),
                prewarming_pool_size=each.pool_size,
                idle_runners=0 if now is None else now.idle,
                used_runners=0 if now is None else now.used,
            )
    return json(found)


async def _pool(call: Call) -> web.StreamResponse:
    return json(PoolAnswer(environments=pool_state(call.services.pool.statistics())))


ROUTES: Final = (
    Route(
        method="GET",
        path="/health",
        handler=_health,
        summary="Whether the server can be used",
        scope=None,
        responses={204: None, 503: Depleting},
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/version",
        handler=_version,
        summary="What the server is, as a JSON string",
        scope=None,
        responses={200: str},
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/statistics/execution-environments",
        handler=_statistics,
        summary="How full the pools of environments with numbers are",
        scope="read",
        responses={200: dict[str, PoolOf]},
        poseidon=True,
    ),
    Route(
        method="GET",
        path="/pool",
        handler=_pool,
        summary="The pools of all environments, and who waits for them",
        scope="read",
        responses={200: PoolAnswer},
    ),
)
