"""The application: every route of the table, and answers for what no route fits."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from aiohttp import WSCloseCode, web

from assay.api.endpoint import endpoint
from assay.api.errors import HttpError
from assay.api.route import Call, Route
from assay.api.routes import ALL_ROUTES
from assay.api.services import Services

_NAMES: Final = re.compile(r"\{[^}:]*\}")


def make_app(services: Services, routes: tuple[Route, ...] = ALL_ROUTES) -> web.Application:
    """Make the application."""
    app = web.Application()
    for route in routes:
        for prefix in _prefixes(route):
            app.router.add_route(route.method, prefix + route.path, endpoint(route, services))
    unknown = _Rest(routes).answer
    for face in dict.fromkeys(route.face for route in routes if route.face is not None):
        rest = Route(method="*", path="", handler=unknown, summary="", scope=None, face=face)
        for prefix in _prefixes(rest):
            app.router.add_route("*", prefix + "/{rest:.*}", endpoint(rest, services))
    rest = Route(method="*", path="", handler=unknown, summary="", scope=None, poseidon=True)
    app.router.add_route("*", "/{rest:.*}", endpoint(rest, services))

    async def say_restarting(_: web.Application) -> None:
        """Clients of assay.v1 come again and lose nothing."""
        closing = [socket.close(code=WSCloseCode.SERVICE_RESTART) for socket in services.sockets]
        await asyncio.gather(*closing, return_exceptions=True)

    app.on_shutdown.append(say_restarting)
    return app


def _prefixes(route: Route) -> tuple[str, ...]:
    """Who enters a foreign client's server with a slash at its end makes two of the first one."""
    return (route.prefix,) if route.face is None else (route.prefix, f"/{route.prefix}")


def make_server(app: web.Application, services: Services) -> web.AppRunner:
    """What serves the application once `setup` was called and a site was added to it.

    No access log: `Services.on_event` tells of every answer.
    """
    settings = services.settings
    return web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=settings.keepalive_seconds,
        handler_cancellation=True,
        shutdown_timeout=5.0,
        # Compressed bodies could be bombs; learners' servers get them as they are.
        auto_decompress=False,
    )


class _Rest:
    """Answers what no route fits: 404, or 405 where another method would."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._paths = [(_pattern(route), route.method) for route in routes if route.exact]

    async def answer(self, call: Call) -> web.StreamResponse:
        """Raise what it is."""
        path = call.request.path
        methods = sorted({method for pattern, method in self._paths if pattern.fullmatch(path)})
        if methods:
            allowed = ", ".join(methods)
            raise HttpError(
                "method_not_allowed", f"this path takes {allowed}", headers={"Allow": allowed}
            )
        raise HttpError("no_such_route", "there is no such path")


def _pattern(route: Route) -> re.Pattern[str]:
    parts = _NAMES.split(route.path)
    return re.compile(re.escape(route.prefix) + "[^/]+".join(re.escape(part) for part in parts))
