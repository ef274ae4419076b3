"""Answers that are sent bit by bit: events as they happen, and what is too large to be held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import web

from assay.api.answers import encode
from assay.domain.errors import AssayError

HEARTBEAT_SECONDS: Final = 15.0
"""After so long a silence a follower is told that somebody is still here."""
STILL_HERE: Final = ("", None)
_AT_ONCE: Final = 65_536
"""Bytes that are written together."""


def event_stream() -> web.StreamResponse:
    """An answer of server-sent events, which nobody on the way keeps back."""
    return web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",
        }
    )


async def send_events(
    request: web.Request, events: AsyncIterator[tuple[str, Any]]
) -> web.StreamResponse:
    """Send names with what becomes JSON, and STILL_HERE."""
    response = event_stream()
    await response.prepare(request)
    async for name, data in events:
        line = b": still here\n\n"
        if name:
            line = b"event: %s\ndata: %s\n\n" % (name.encode(), encode(data))
        await response.write(line)
    return response


async def send_pieces(
    request: web.Request, headers: Mapping[str, str], pieces: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send what comes piece by piece; what is wrong at its start is a problem of its own.

    Later the connection is cut: nobody shall take a part for the whole.
    """
    together = _together(pieces)
    first = await anext(together)
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        await response.write(first)
        async for piece in together:
            await response.write(piece)
        await response.write_eof()
    except AssayError:
        if request.transport is not None:
            request.transport.abort()
    return response


async def _together(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        if len(gathered) >= _AT_ONCE:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)
