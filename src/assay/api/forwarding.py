"""Requests for a runner that another server has: passed on to it, HTTP and WebSocket.

The client's own token goes along, and the other server looks at it as at any other's. What is shown
beside it, the other server's secret of the database, says that a server asks: so a request is
counted once, and is passed on once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import aiohttp
from aiohttp import WSCloseCode, web
from multidict import CIMultiDict
from yarl import URL

from assay.api.errors import HttpError
from assay.api.origin import Origin
from assay.api.relay import CLOSE_SECONDS, carry, code_for, wanted_protocols, wants_websocket
from assay.api.tls import Authorities
from assay.domain.errors import (
    AssayError,
    Busy,
    ConnectionLost,
    InvalidInput,
    OffsetLost,
    QuotaExceeded,
    RunnerGone,
    Unavailable,
    UnknownExecution,
)
from assay.domain.lease import Lease
from assay.storage.records import Held, ServerRecord

_log: Final = logging.getLogger("assay.api")

FORWARDED: Final = "Assay-Forwarded"
"""What one server shows to another. A request that has it is never passed on."""
PATIENCE_SECONDS: Final = 15.0
"""How long a request waits for the server of its runner, or for the one that takes over."""
_PAUSE_SECONDS: Final = 0.2
_CONNECT_SECONDS: Final = 3.0
_HEARTBEAT_SECONDS: Final = 10.0
_MESSAGE_MOST: Final = 4 * 1024 * 1024
"""Bytes of one WebSocket message; what a server takes of clients."""
_SMALL: Final = 65_536
"""A body of so few bytes is kept here, so that it can be sent again."""
_ONE_CONNECTION: Final = frozenset(
    (
        "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "te",
        "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip
"""Fields that concern one connection only."""
_OURS: Final = ("assay-forwarded", "x-forwarded-", "forwarded", "sec-websocket-", "proxy-")
_REFUSALS: Final[Mapping[int, Callable[[str], AssayError]]] = {
    400: InvalidInput, 404: UnknownExecution, 410: RunnerGone, 416: OffsetLost, 429: QuotaExceeded,
    503: Busy,
}  # fmt: skip
"""What the status means with which another server refuses a WebSocket: of its words, none come."""


class Servers(Protocol):
    """All servers of the database; `assay.cluster.Membership` is one."""

    @property
    def me(self) -> ServerRecord:
        """This server."""
        ...

    async def locate(self, runner_id: str, /) -> ServerRecord | None:
        """The server that has a runner, if there is such a runner."""
        ...

    def is_silent(self, server: ServerRecord, /) -> bool:
        """Whether a server is to be given up."""
        ...

    async def take_over(self, server: ServerRecord, /) -> None:
        """Have what a silent one had, or let another have it. Raises Unavailable, Draining."""
        ...

    async def settled(self) -> None:
        """Wait until all that is this server's can be asked for."""
        ...

    def is_peer(self, shown: str, /) -> bool:
        """Whether a text is what other servers show to this one."""
        ...

    def others_hold(self, token_id: str, /) -> Held:
        """How much of a token's is at the other servers."""
        ...

    async def leases(self, owner: str | None, /) -> list[Lease]:
        """The leases of an owner, or all, wherever they are."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Forwarded:
    """A request was passed on to another server, and answered with this status."""

    status: int


class Forwarder:
    """Passes requests on to the servers of their runners."""

    def __init__(
        self,
        servers: Servers,
        *,
        authorities: Authorities | None = None,
        on_event: Callable[[Forwarded], None],
    ) -> None:
        self.servers = servers
        self._authorities = authorities or Authorities()
        self._tell = on_event
        self._under_way: defaultdict[str, set[asyncio.Timeout]] = defaultdict(set)

    async def pass_on(
        self, request: web.Request, origin: Origin, *, came_by_server: bool
    ) -> web.StreamResponse | None:
        """Have the server of a request's runner answer it. None: this one has the runner by now.

        Waits while that server is silent and not yet given up. Raises RunnerGone, and Unavailable.
        """
        runner_id, loop = request.match_info["runner_id"], asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        body = await _small_body(request)
        while True:
            owner = await self._owner(runner_id)
            if owner.id == self.servers.me.id:
                await self.servers.settled()
                return None
            if came_by_server or FORWARDED in request.headers:
                raise HttpError("misdirected", "another server has this runner now")
            if self.servers.is_silent(owner):
                await self.servers.take_over(owner)
                continue
            exchange = _Exchange(
                request, owner, body, _fields(request, origin, owner), asyncio.Event()
            )
            with contextlib.suppress(_NotReached):
                return await self._answered(exchange)
            if loop.time() > deadline:
                _log.warning("the server %s is silent, and has a runner", owner.address)
                raise Unavailable("the server that has this runner is silent")
            await asyncio.sleep(_PAUSE_SECONDS)

    def cut(self, server_id: str) -> None:
        """End what goes on with a server that is given up: clients come again."""
        for timeout in self._under_way.pop(server_id, ()):
            timeout.reschedule(asyncio.get_running_loop().time())

    async def _owner(self, runner_id: str) -> ServerRecord:
        owner = await self.servers.locate(runner_id)
        if owner is None:
            raise RunnerGone("there is no runner with this id, or its lease is over")
        return owner

    async def _answered(self, exchange: _Exchange) -> web.StreamResponse:
        socket = wants_websocket(exchange.request.headers)
        tls = exchange.owner.address.startswith("https:")
        trusted = self._authorities.context if tls else True
        async with _client(trusted, exchange.connected.set) as client:
            answer = self._websocket if socket else self._http
            response = await answer(exchange, client)
        self._tell(Forwarded(status=response.status))
        return response

    @contextlib.asynccontextmanager
    async def _until_cut(self, server_id: str) -> AsyncIterator[None]:
        """Raise TimeoutError within once `cut` is called."""
        async with asyncio.timeout(None) as timeout:
            self._under_way[server_id].add(timeout)
            try:
                yield
            finally:
                self._under_way[server_id].discard(timeout)

    # --- HTTP ---------------------------------------------------------------------------------

    async def _http(self, exchange: _Exchange, client: aiohttp.ClientSession) -> web.StreamResponse:
        request = exchange.request
        response: web.StreamResponse | None = None
        try:
            async with (
                self._until_cut(exchange.owner.id),
                client.request(
                    request.method, exchange.url, headers=exchange.fields,
                    data=_body(exchange), allow_redirects=False,
                ) as answer,
            ):  # fmt: skip
                if answer.status == _MISDIRECTED and exchange.repeatable:
                    raise _NotReached
                response = _begun(answer)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
        except aiohttp.ClientSSLError as error:
            raise _not_trusted(exchange.owner, error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            if response is not None and response.prepared:
                # Nobody shall take a part of an answer for the whole.
                _cut(request)
                return response
            harmless = exchange.repeatable and request.method in ("GET", "HEAD")
            if harmless or not exchange.connected.is_set():
                raise _NotReached from error
            raise ConnectionLost(
                "the server that has this runner broke off; whether it did what was asked for is"
                " not known"
            ) from error

    # --- WebSockets ---------------------------------------------------------------------------

    async def _websocket(
        self, exchange: _Exchange, client: aiohttp.ClientSession
    ) -> web.StreamResponse:
        far = await self._opened(exchange, client)
        near = web.WebSocketResponse(
            protocols=(far.protocol,) if far.protocol else (),
            compress=False,
            autoclose=False,
            max_msg_size=_MESSAGE_MOST,
            timeout=CLOSE_SECONDS,
        )
        closed = False
        try:
            await near.prepare(exchange.request)
            with contextlib.suppress(TimeoutError):
                async with self._until_cut(exchange.owner.id):
                    closed = await carry(near, far)
        finally:
            # A client that vanished has not left: nobody may take this for its Close.
            await far.close(code=code_for(near.close_code) if closed else _VANISHED)
        # Without a Close of the other server, the client comes again, and finds the next one.
        code = code_for(far.close_code) if closed else WSCloseCode.SERVICE_RESTART
        await near.close(code=code)
        return near

    async def _opened(
        self, exchange: _Exchange, client: aiohttp.ClientSession
    ) -> aiohttp.ClientWebSocketResponse:
        try:
            async with self._until_cut(exchange.owner.id):
                return await client.ws_connect(
                    exchange.url,
                    headers=exchange.fields,
                    protocols=wanted_protocols(exchange.request.headers),
                    compress=0,
                    heartbeat=_HEARTBEAT_SECONDS,
                    max_msg_size=_MESSAGE_MOST,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
                )
        except aiohttp.WSServerHandshakeError as error:
            if error.status == _MISDIRECTED:
                raise _NotReached from error
            refusal = _REFUSALS.get(error.status, Busy)
            raise refusal("the server that has this runner refused the stream") from error
        except aiohttp.ClientSSLError as error:
            raise _not_trusted(exchange.owner, error) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            # Where it was opened all the same, the next one takes its place.
            raise _NotReached from error


_MISDIRECTED: Final = 421
_VANISHED: Final = WSCloseCode.INTERNAL_ERROR


def _not_trusted(owner: ServerRecord, error: aiohttp.ClientSSLError) -> Unavailable:
    """Nothing was sent, no token either: it may be somebody else's machine."""
    _log.error("the certificate of the server %s is not believed: %s", owner.address, error)
    return Unavailable(
        "the server that has this runner shows a certificate that this one does not believe, or"
        " that names another host: see tls_authority, and its tls_certificate",
        detail=str(error),
    )


class _NotReached(Exception):
    """The server did not answer, or has the runner no more; the request may be sent again."""


class _Exchange(NamedTuple):
    """One request on its way to another server."""

    request: web.Request
    owner: ServerRecord
    body: bytes | None
    """What was sent, where that is little."""
    fields: CIMultiDict[str]
    connected: asyncio.Event
    """Set once there is a connection: what was sent on it may have been done."""

    @property
    def url(self) -> URL:
        """Where to."""
        return URL(self.owner.address + self.request.raw_path, encoded=True)

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent again."""
        return self.body is not None or not self.request.body_exists


@contextlib.asynccontextmanager
async def _client(
    context: ssl.SSLContext | bool, on_connected: Callable[[], None]
) -> AsyncIterator[aiohttp.ClientSession]:
    """A connection of its own: one that is used again may break without anybody's fault."""

    async def connected(*_: object) -> None:
        on_connected()

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connected)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(force_close=True, ssl=context),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        trace_configs=[trace],
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    ) as client:
        yield client


def _fields(request: web.Request, origin: Origin, owner: ServerRecord) -> CIMultiDict[str]:
    """What goes along: all but what concerns this connection, and what only a server may say."""
    fields = CIMultiDict(_passing(request.headers.items()))
    fields[FORWARDED] = owner.secret.reveal().hex()
    fields["X-Forwarded-Proto"] = origin.scheme
    fields["X-Forwarded-Host"] = origin.host
    fields["X-Forwarded-For"] = origin.address
    if request.body_exists and request.content_length is not None:
        fields["Content-Length"] = str(request.content_length)
    return fields


def _passing(fields: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, value in fields:
        lower = name.lower()
        if lower not in _ONE_CONNECTION and not lower.startswith(_OURS):
            yield name, value


async def _small_body(request: web.Request) -> bytes | None:
    length = request.content_length
    return await request.read() if length is not None and length <= _SMALL else None


def _body(exchange: _Exchange) -> bytes | AsyncIterator[bytes] | None:
    if not exchange.request.body_exists:
        return None
    return exchange.request.content.iter_any() if exchange.body is None else exchange.body


def _begun(answer: aiohttp.ClientResponse) -> web.StreamResponse:
    response = web.StreamResponse(
        status=answer.status, headers=CIMultiDict(_passing(answer.headers.items()))
    )
    if "Transfer-Encoding" not in answer.headers and answer.content_length is not None:
        response.content_length = answer.content_length
    return response


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
