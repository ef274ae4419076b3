"""A reverse proxy, HTTP and WebSocket, to an exposed port of a runner.

Both sides are strangers: what a learner's server sends is taken apart and put together anew, with
limits of size and time, so that nothing in it can be more than the body of one answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Final, NamedTuple

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from assay.api.errors import HttpError
from assay.api.origin import Origin
from assay.api.passing import answer_fields, request_fields
from assay.api.relay import (
    CLOSE_SECONDS,
    MESSAGE_MOST,
    pass_messages,
    wanted_protocols,
    wants_websocket,
)
from assay.api.tunnel import Opener, Tunnel, client_through
from assay.domain.errors import (
    AssayError,
    ConnectionLost,
    Forbidden,
    InvalidInput,
    QuotaExceeded,
)

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods that pass."""
CONNECTIONS_MOST: Final = 16
"""Connections to the ports of one runner at one time: each is an execution of its agent."""
ALL_CONNECTIONS_MOST: Final = 512
"""Connections to ports at one time, of all runners."""
HEADER_SECONDS: Final = 60.0
"""How long a learner's server may take until its answer has begun."""
IDLE_SECONDS: Final = 300.0
"""How long neither side may send anything."""
UPLOAD_MOST: Final = 128 * 1024 * 1024
"""Bytes of a request's body."""
_PATH: Final = re.compile(r"[\x21-\x7e]*")
_SEGMENTS_BEFORE: Final = 6
"""In /api/v1/runners/ID/ports/PORT/…"""


class PortProxy:
    """Passes requests on to ports of sandboxes, a bounded number at one time."""

    def __init__(
        self, *, header_seconds: float = HEADER_SECONDS, idle_seconds: float = IDLE_SECONDS
    ) -> None:
        self._header_seconds = header_seconds
        self._idle_seconds = idle_seconds
        self._open: Counter[str] = Counter()

    async def handle(
        self, request: web.Request, opener: Opener, *, runner_id: str, port: int, origin: Origin
    ) -> web.StreamResponse:
        """Answer a request for …/runners/ID/ports/PORT/REST with what the port says to /REST.

        Raises ConnectionLost when nothing usable answers there, QuotaExceeded, InvalidInput.
        """
        if request.headers.get("Service-Worker"):
            raise Forbidden("pages of a runner can't have service workers")
        prefix, url = _split(request, port)
        fields = request_fields(request.headers.items(), port=port, origin=origin, prefix=prefix)
        with self._counted(runner_id):
            async with client_through(opener) as (client, tunnel):
                exchange = _Exchange(request, client, tunnel, url, fields, _Patience())
                with _translated(exchange):
                    if wants_websocket(request.headers):
                        far = await self._open_websocket(exchange)
                        return await pass_messages(request, far)
                    async with exchange.patience:
                        return await self._http(exchange)

    async def _http(self, exchange: _Exchange) -> web.StreamResponse:
        exchange.patience.give(self._header_seconds)
        request, fields, body = exchange.request, exchange.fields, None
        if request.body_exists:
            body = self._upload(request, exchange.patience)
            if request.content_length is not None:
                fields["Content-Length"] = str(request.content_length)
        async with exchange.client.request(
            request.method, exchange.url, headers=fields, data=body, allow_redirects=False
        ) as answer:
            return await self._pass_back(exchange, answer)

    async def _upload(self, request: web.Request, patience: _Patience) -> AsyncIterator[bytes]:
        length = 0
        while piece := await request.content.readany():
            length += len(piece)
            if length > UPLOAD_MOST:
                patience.over = HttpError(
                    "body_too_large", f"a request has at most {UPLOAD_MOST:,} bytes"
                )
                raise patience.over
            patience.give(self._idle_seconds)
            yield piece
        patience.give(self._header_seconds)

    async def _pass_back(
        self, exchange: _Exchange, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        if not 200 <= answer.status <= 599:
            raise _silent(exchange, f"answered with the status {answer.status}")
        response = web.StreamResponse(
            status=answer.status, headers=answer_fields(answer.headers.items())
        )
        length = _length(answer)
        if length is not None:
            response.content_length = length
        await response.prepare(exchange.request)
        if exchange.request.method == "HEAD" or answer.status in (204, 304):
            return response
        try:
            await self._pass_body(exchange, answer, response)
        except (aiohttp.ClientError, ConnectionError, ConnectionLost):
            _cut(exchange.request)
        except asyncio.CancelledError:
            _cut(exchange.request)
            raise
        return response

    async def _pass_body(
        self, exchange: _Exchange, answer: aiohttp.ClientResponse, response: web.StreamResponse
    ) -> None:
        exchange.patience.give(self._idle_seconds)
        while piece := await answer.content.readany():
            await response.write(piece)
            exchange.patience.give(self._idle_seconds)
        if exchange.tunnel.failure is not None:
            raise exchange.tunnel.failure
        await response.write_eof()

    async def _open_websocket(self, exchange: _Exchange) -> aiohttp.ClientWebSocketResponse:
        async with asyncio.timeout(self._header_seconds):
            return await exchange.client.ws_connect(
                exchange.url,
                headers=exchange.fields,
                protocols=wanted_protocols(exchange.request.headers),
                compress=0,
                max_msg_size=MESSAGE_MOST,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )

    @contextlib.contextmanager
    def _counted(self, runner_id: str) -> Iterator[None]:
        if self._open[runner_id] >= CONNECTIONS_MOST:
            raise QuotaExceeded(f"{CONNECTIONS_MOST} connections to this runner's ports are open")
        if self._open.total() >= ALL_CONNECTIONS_MOST:
            raise QuotaExceeded("too many connections to ports are open")
        self._open[runner_id] += 1
        try:
            yield
        finally:
            self._open[runner_id] -= 1
            if not self._open[runner_id]:
                del self._open[runner_id]


class _Exchange(NamedTuple):
    """One request on its way to a learner's server."""

    request: web.Request
    client: aiohttp.ClientSession
    tunnel: Tunnel
    url: URL
    fields: CIMultiDict[str]
    patience: _Patience


class _Patience:
    """A deadline that moves: everything within ends with TimeoutError when it has passed."""

    def __init__(self) -> None:
        self._timeout = asyncio.timeout(None)
        self.over: AssayError | None = None
        """Why the request was given up meanwhile."""

    async def __aenter__(self) -> _Patience:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._timeout.__aexit__(kind, error, trace)

    def give(self, seconds: float) -> None:
        """Allow so many seconds from now on."""
        if not self._timeout.expired():
            self._timeout.reschedule(asyncio.get_running_loop().time() + seconds)


def _split(request: web.Request, port: int) -> tuple[str, URL]:
    """The part of the path that is ours, and the URL in the sandbox."""
    segments = request.rel_url.raw_path.split("/", _SEGMENTS_BEFORE + 1)
    query = request.rel_url.raw_query_string
    if len(segments) < _SEGMENTS_BEFORE + 2:
        segments.append("")
    rest = segments.pop()
    if not _PATH.fullmatch(rest + query):
        raise InvalidInput("a path is percent-encoded ASCII")
    url = URL.build(
        scheme="http",
        host="localhost",
        port=port,
        path="/" + rest,
        query_string=query,
        encoded=True,
    )
    return "/".join(segments), url


def _length(answer: aiohttp.ClientResponse) -> int | None:
    """How long the answer says that it is, if it may say so."""
    if "Transfer-Encoding" in answer.headers:
        return None
    return answer.content_length


def _cut(request: web.Request) -> None:
    """End the caller's connection: nobody shall take a part of an answer for the whole."""
    if request.transport is not None:
        request.transport.abort()


@contextlib.contextmanager
def _translated(exchange: _Exchange) -> Iterator[None]:
    """Say what went wrong on a learner's side in a way that is no failure of this server."""
    try:
        yield
    except TimeoutError as error:
        raise _silent(exchange, "took too long to answer") from error
    except aiohttp.WSServerHandshakeError as error:
        raise _silent(exchange, f"refused the WebSocket, status {error.status}") from error
    except (aiohttp.ClientError, ValueError) as error:
        for known in (exchange.patience.over, exchange.tunnel.failure):
            if known is not None and not isinstance(known, ConnectionLost):
                raise known from error
        raise _silent(exchange, "gave no answer of HTTP") from error


def _silent(exchange: _Exchange, what: str) -> HttpError:
    failure = exchange.tunnel.failure
    reason = f": {failure.message}" if isinstance(failure, ConnectionLost) else ""
    return HttpError("port_silent", f"what listens on port {exchange.url.port} {what}{reason}")
