"""One request to a receiver, who may be anybody and may mean harm."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from assay.grading.webhooks.address import refusal
from assay.grading.webhooks.names import Names

CONNECT_SECONDS: Final = 5.0
TOTAL_SECONDS: Final = 10.0
_ANSWER_BYTES: Final = 4096
"""Of an answer's header fields; of its body nothing is read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What came of one attempt."""

    status: int | None
    """None: there was no answer."""
    error: str = ""
    retry_after: float = 0.0
    """Seconds that the receiver asks to be left alone."""

    @property
    def arrived(self) -> bool:
        """Whether the receiver has taken it."""
        return self.status is not None and 200 <= self.status < 300


class _Refused(OSError):
    """Raised where a connection would go to an address that it may not go to."""


async def post(
    url: str,
    body: bytes,
    fields: Mapping[str, str],
    *,
    allowed: Sequence[str],
    resolver: AbstractResolver,
) -> Answer:
    """Send it once. The name is looked up once; each address is looked at where a socket is made
    for it, so nothing else can be connected to, whatever a second look-up would say.
    """
    gate = _gate(encrypted=URL(url).scheme == "https", allowed=allowed)
    try:
        async with (
            asyncio.timeout(TOTAL_SECONDS),
            aiohttp.ClientSession(
                connector=_Connector(resolver=resolver, gate=gate),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
                max_line_size=_ANSWER_BYTES,
                max_field_size=_ANSWER_BYTES,
                read_bufsize=_ANSWER_BYTES,
            ) as client,
            client.post(
                url, data=body, allow_redirects=False,
                headers={"Content-Type": "application/json", "User-Agent": "assay", **fields},
            ) as response,
        ):  # fmt: skip
            answer = _answer(response)
            response.close()  # not a byte of its body
            return answer
    except TimeoutError:
        return Answer(status=None, error="it took too long")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Answer(status=None, error=_words(error))


@dataclass(frozen=True, slots=True)
class Posting:
    """Sends requests, and looks up their receivers' names."""

    names: Names

    async def __call__(
        self, url: str, body: bytes, fields: Mapping[str, str], /,
        *, course: str, allowed: Sequence[str],
    ) -> Answer:  # fmt: skip
        """Send one of this course."""
        return await post(url, body, fields, allowed=allowed, resolver=self.names.of(course))


class _Brief(ResponseHandler):
    """Hears no more than so much of an answer: endless `100 Continue` are none, and cost."""

    _left = 4 * _ANSWER_BYTES

    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        super().data_received(data if self._left >= 0 else data[: self._left])
        if self._left < 0 and self.transport is not None:
            self.transport.abort()


class _Connector(aiohttp.TCPConnector):
    """Whose connections are brief."""

    def __init__(self, *, resolver: AbstractResolver, gate: Callable[[Any], socket.socket]) -> None:
        super().__init__(
            resolver=resolver, use_dns_cache=False, force_close=True, socket_factory=gate
        )
        # The library has no other place for it; a test notices when it has none any more.
        self._factory = cast("partial[ResponseHandler]", partial(_Brief, loop=self._loop))


def _gate(*, encrypted: bool, allowed: Sequence[str]) -> Callable[[Any], socket.socket]:
    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if why := refusal(str(address[0]), encrypted=encrypted, allowed=allowed):
            raise _Refused(why)
        return socket.socket(family, kind, protocol)

    return make


def _answer(response: aiohttp.ClientResponse) -> Answer:
    after = response.headers.get("Retry-After", "")
    return Answer(
        status=response.status,
        error="" if 200 <= response.status < 300 else f"it was answered with {response.status}",
        retry_after=float(after) if after.isascii() and after.isdecimal() else 0.0,
    )


def _words(error: BaseException) -> str:
    """What may be shown to who has registered it: no words of the receiver."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _Refused):
            return str(cause)
        cause = cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known"
    if isinstance(error, aiohttp.ClientSSLError):
        return "its certificate is not believed, or it speaks no TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "it cannot be connected to"
    return "it broke off, or answered with no HTTP"
