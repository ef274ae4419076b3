"""The routes of the reverse proxy: what a learner's program serves, to who holds its runner."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from assay.api.proxy import METHODS
from assay.api.route import Call, Route
from assay.domain.errors import NotFound
from assay.driver.port import ByteStream

PATH: Final = "/runners/{runner_id}/ports/{port}{path:(/.*)?}"


async def _pass_on(call: Call) -> web.StreamResponse:
    runner, port = call.runner, _port(call.request.match_info["port"])
    if port not in runner.environment.exposed_ports:
        raise NotFound(f"the runner's environment exposes no port {port}")

    async def open_stream() -> ByteStream:
        stream: ByteStream = await runner.open_port(port)
        return stream

    return await call.services.proxy.handle(
        call.request,
        open_stream,
        runner_id=runner.lease.runner_id,
        port=port,
        origin=call.origin,
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 5):
        raise NotFound("a port is a number")
    return int(text)


ROUTES: Final = tuple(
    Route(
        method=method,
        path=PATH,
        handler=_pass_on,
        summary="Pass a request on to an exposed port of the sandbox; GET may become a WebSocket",
        responses={200: bytes},
        problems=(404, 413, 429, 502),
        exact=False,
    )
    for method in METHODS
)
