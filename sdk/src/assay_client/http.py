"""Requests to one server: its address, the token, errors as ours, and what may be tried again."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from assay_client.errors import (
    AssayError,
    ConnectionLost,
    Draining,
    InvalidRequest,
    ProtocolViolation,
    Unreachable,
    from_response,
)
from assay_client.wire import SUBPROTOCOL

Answer = TypeVar("Answer")

API: Final = "/api/v1"
CONNECT_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 20.0
MOST_OF_AN_ANSWER: Final = 256 * 1024 * 1024
MOST_OF_A_FRAME: Final = 4 * 1024 * 1024
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to try again what may be tried again; seconds."""

    request_seconds: float = 10.0
    """Requests that reach nobody, or a server that is about to be replaced."""
    resume_seconds: float = 60.0
    """Streams of running programs, counted anew from each time that one was connected."""


def pauses() -> Any:
    """Seconds to wait before each new try: longer and longer, and never all clients at once."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)
        pause = min(pause * 2, _LONGEST_PAUSE)


class Http:
    """One server, and a pool of connections to it."""

    def __init__(self, url: str, token: str | None, *, patience: Patience, ssl: Any = True) -> None:
        """`ssl`: as aiohttp takes it, such as a context with the server's own authority.

        Raises InvalidRequest for what is no address.
        """
        self.base = _base(url)
        self.patience = patience
        self._ssl = ssl
        # Never a public attribute, and in no repr: whoever has it is the user.
        # Who accepts problem details gets codes also where Poseidon's clients get messages alone.
        self._headers = {"Accept": "application/json, application/problem+json, */*;q=0.1"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {_checked(token)}"
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Http({str(self.base)!r})"

    async def open(self) -> None:
        """Get ready; needs a running loop."""
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=0, ssl=self._ssl),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
            auto_decompress=True,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def url(self, *path: str, **query: str | int | bool | None) -> URL:
        """An address beneath the API's; parts of the path may hold any letter but NUL."""
        parts = "/".join(quote(part, safe="") for part in path)
        given = {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in query.items()
            if value is not None
        }
        return URL(f"{self.base}/{parts}", encoded=True).with_query(given)

    async def call(
        self,
        method: str,
        url: URL,
        *,
        body: object = None,
        answer: type[Answer],
        again: bool,
        seconds: float | None = 60.0,
    ) -> Answer:
        """One request; `answer` is the type of its JSON, or bytes, or NoneType.

        `again`: it may be done twice, so a broken connection is no reason to give up yet. What
        surely was not done is always tried again, for `patience.request_seconds`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience.request_seconds
        for pause in pauses():
            try:
                return _decoded(await self._once(method, url, body, seconds), answer)
            except (Unreachable, Draining, ConnectionLost) as error:
                if isinstance(error, ConnectionLost) and not again:
                    raise
                if loop.time() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("pauses never end")

    async def _once(self, method: str, url: URL, body: object, seconds: float | None) -> bytes:
        async with self.stream(method, url, body=body, seconds=seconds) as response:
            content = bytearray()
            async for chunk in response.content.iter_any():
                content += chunk
                if len(content) > MOST_OF_AN_ANSWER:
                    raise ProtocolViolation("the server's answer is too large")
            return bytes(content)

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, url: URL, *, body: object = None, seconds: float | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose answer is read by the caller; errors of it are raised as ours."""
        data = None if body is None else msgspec.json.encode(body)
        headers = {} if data is None else {"Content-Type": "application/json"}
        with _own_errors(self.base, timed=seconds is not None):
            async with (
                asyncio.timeout(seconds),
                self._opened.request(
                    method, url, data=data, headers=headers, allow_redirects=False
                ) as response,
            ):
                if response.status >= 300 or response.status < 200:
                    raise await _error(response)
                yield response

    async def websocket(self, url: URL) -> aiohttp.ClientWebSocketResponse:
        """Connect a stream of `assay.v1`; one try."""
        with _own_errors(self.base, timed=True):
            try:
                async with asyncio.timeout(CONNECT_SECONDS + 10):
                    connected = await self._opened.ws_connect(
                        url,
                        protocols=(SUBPROTOCOL,),
                        heartbeat=HEARTBEAT_SECONDS,
                        max_msg_size=MOST_OF_A_FRAME,
                    )
            except aiohttp.WSServerHandshakeError as error:
                raise from_response(error.status, b"") from error
        if connected.protocol != SUBPROTOCOL:
            await connected.close()
            raise ProtocolViolation(f"this server does not speak {SUBPROTOCOL}")
        return connected

    @property
    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise InvalidRequest("the client is closed; use it in `async with`")
        return self._session


async def _error(response: aiohttp.ClientResponse) -> AssayError:
    body = await response.content.read(65536)
    if 300 <= response.status < 400:
        place = response.headers.get("Location", "")
        return InvalidRequest(f"this is not the server's address, it refers to {place[:200]}")
    return from_response(response.status, body, response.headers.get("Retry-After"))


@contextlib.contextmanager
def _own_errors(base: URL, *, timed: bool) -> Any:
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError) as error:
        raise Unreachable(f"no server answers at {base}: {error}") from error
    except TimeoutError as error:
        if not timed:  # it is the caller's own, from within the block
            raise
        raise ConnectionLost(f"{base} did not answer in time") from error
    except aiohttp.InvalidURL as error:
        raise InvalidRequest(f"{base} is no address") from error
    except aiohttp.ClientError as error:
        raise ConnectionLost(f"the connection to {base} broke: {error}") from error


def _decoded(content: bytes, answer: type[Answer]) -> Answer:
    if answer is bytes:
        return content  # type: ignore[return-value]
    if answer is type(None):
        return None
    try:
        return msgspec.json.decode(content, type=answer)
    except msgspec.MsgspecError as error:
        raise ProtocolViolation(f"the server's answer is not what it should be: {error}") from error


def _base(url: str) -> URL:
    try:
        found = URL(url)
        port = found.port  # which may be no number
    except ValueError as error:
        raise InvalidRequest(f"{url!r} is no address: {error}") from error
    if found.scheme not in ("http", "https") or not found.host or port is None:
        raise InvalidRequest(f"{url!r} is no address; one looks like http://127.0.0.1:7200")
    if found.user is not None or found.password is not None:
        raise InvalidRequest("give the token as such, and not within the address")
    path = found.path.rstrip("/")
    return found.origin().with_path(path if path.endswith(API) else path + API)


def _checked(token: str) -> str:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidRequest("a token has only printable letters of ASCII, and no blanks")
    return token


def as_base64(content: bytes) -> str:
    """As JSON carries bytes."""
    return base64.b64encode(content).decode()
