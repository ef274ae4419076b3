"""What happens around every handler: who asks, what was sent, errors, one event for metrics."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Final

import msgspec
from aiohttp import web

from assay.api.auth import Caller
from assay.api.errors import HttpError, answer_to
from assay.api.forwarding import FORWARDED, Forwarder
from assay.api.origin import ANYWHERE, address_of
from assay.api.route import Call, Route
from assay.api.services import Answered, Services
from assay.domain.errors import InvalidInput, RateLimited, RunnerGone, Unauthenticated
from assay.domain.limits import MIB
from assay.domain.token import Scope
from assay.runners import Runner

Decode = Callable[[bytes | bytearray], Any]
_AT_THE_DOOR: Final = (Unauthenticated, RateLimited)
"""Who may not come in is not listened to."""
_NOBODY: Final = Caller(scopes=frozenset())
_AT_ONCE: Final = 65_536
"""A body of so few bytes is read by aiohttp itself."""
_LARGE: Final = MIB
_VALUES_MOST: Final = 200_000
"""In a large body: one takes up to a hundred bytes here where it takes three on its way."""
_CROWDED: Final = re.compile(rb'(?>(?:[^",]*+(?>(?:"[^"]*+"[^",]*+)*),){%d})' % (_VALUES_MOST + 1))
"""The beginning of a text without escapes, and with more commas outside of its strings."""


def endpoint(route: Route, services: Services) -> Callable[[web.Request], Awaitable[Any]]:
    """Make the function that aiohttp calls for a route."""
    decode = None if route.request is None else msgspec.json.Decoder(route.request).decode
    authenticate = services.authenticator.authenticate
    scope, handler, most = route.scope, route.handler, services.settings.most_body_bytes
    proxies, forwarder = services.settings.proxies, services.forwarder
    face = route.face

    async def perform(request: web.Request, began: float) -> web.StreamResponse:
        caller = _NOBODY
        by_server = forwarder is not None and _comes_by_server(request, forwarder)
        if scope is not None:
            peer = request.remote or ""
            headers: Mapping[str, str] = request.headers
            if face is not None:
                headers = face.credentials(headers)
            if by_server:
                caller = await authenticate(
                    headers, address_of(headers, peer, ANYWHERE), counted=True
                )
            else:
                caller = await authenticate(headers, address_of(headers, peer, proxies))
            caller.require(scope)
            if scope == Scope.TEACH and "course" in request.match_info:
                caller.require_teaches(request.match_info["course"])
        _require_text(request, route)
        call = Call(request, services, caller, None, None, by_server, began)
        if route.of_runner:
            try:
                call.found = find_runner(request, services, caller)
            except RunnerGone:
                if forwarder is None:
                    raise
                answered = await forwarder.pass_on(request, call.origin, came_by_server=by_server)
                if answered is not None:
                    return answered
                call.found = find_runner(request, services, caller)
        if decode is not None:
            call.body = _decoded(await read_body(request, most), decode)
        return await handler(call)

    async def answer(request: web.Request) -> web.StreamResponse:
        started = perf_counter()
        status = 499  # the client left
        try:
            try:
                response = await perform(request, started)
            except (asyncio.CancelledError, ConnectionError):
                raise
            except Exception as error:
                if not isinstance(error, _AT_THE_DOOR):
                    await _drain(request, most)
                if face is None:
                    response = answer_to(error, request, poseidon=route.poseidon)
                else:
                    response = face.answer(error, request)
            if face is not None:
                response.headers.update(face.headers)
            status = response.status
            return response
        finally:
            if services.on_event is not None:
                services.on_event(
                    Answered(
                        method=route.method,
                        route=route.label,
                        status=status,
                        seconds=perf_counter() - started,
                    )
                )

    return answer


def _require_text(request: web.Request, route: Route) -> None:
    """Raise InvalidInput for a NUL: no name has one, and PostgreSQL takes none.

    What is passed on to a learner's program may hold what it likes.
    """
    named = {**request.match_info, **(request.query if request.query_string else {})}
    names = named if route.exact else ("runner_id", "port")
    if any("\0" in named.get(name, "") for name in names):
        raise InvalidInput("a path or a query holds no NUL (%00)")


def _comes_by_server(request: web.Request, forwarder: Forwarder) -> bool:
    shown = request.headers.get(FORWARDED)
    return shown is not None and forwarder.servers.is_peer(shown)


def find_runner(request: web.Request, services: Services, caller: Caller) -> Runner:
    """The runner that a path names. Raises RunnerGone, for one of somebody else as well."""
    text = request.query.get("generation") if request.query_string else None
    if text is not None and not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidInput("generation is a number")
    return services.runners.get(
        request.match_info["runner_id"],
        owner=caller.owner,
        generation=None if text is None else int(text),
    )


async def read_body(request: web.Request, most: int) -> bytes | bytearray:
    """Read the JSON that was sent, in one buffer.

    Raises HttpError: too many bytes, or compressed; and InvalidInput: far too many values.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise HttpError("encoded_body", "send the body as it is, without a Content-Encoding")
    length = request.content_length
    if length is not None and length <= _AT_ONCE:
        return await request.read()
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > most:
            raise HttpError("body_too_large", f"a request has at most {most:,} bytes")
    if len(body) > _LARGE and body.count(b",") > _VALUES_MOST and _is_crowded(body):
        raise InvalidInput(f"a body of more than 1 MiB has at most {_VALUES_MOST:,} values")
    return body


def _is_crowded(body: bytearray) -> bool:
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    return _CROWDED.match(plain) is not None


async def _drain(request: web.Request, most: int) -> None:
    """Take in what is still being sent: many clients read no answer before they have sent all."""
    count = 0
    try:
        async for piece in request.content.iter_any():
            count += len(piece)
            if count > most:
                return
    except (web.HTTPException, ConnectionError, ValueError):
        return


def _decoded(body: bytes | bytearray, decode: Decode) -> Any:
    try:
        return decode(body)
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"the request's body is wrong: {error}") from error
    except (RecursionError, binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise InvalidInput("the request's body is no JSON that makes sense here") from error
