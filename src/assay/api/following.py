"""From a request to upgrade to one of the two conversations about an execution."""

from __future__ import annotations

import logging
from typing import Final

from aiohttp import WSCloseCode, web

from assay.api import poseidon_stream, stream
from assay.api.errors import HttpError
from assay.api.quotas import require_execution
from assay.api.route import Call
from assay.domain.errors import InvalidInput
from assay.runners import ASSAY_V1, Attachment, State

_log: Final = logging.getLogger("assay.api")

_CLOSE_SECONDS: Final = 2.0
"""How long a client has to answer a Close."""


async def follow(call: Call) -> web.StreamResponse:
    """Start an execution, or go on with it, and converse until either side is done."""
    request, settings = call.request, call.services.settings
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise HttpError("not_an_upgrade", "this path takes WebSockets only")
    speaks_v1 = ASSAY_V1 in request.headers.get("Sec-WebSocket-Protocol", "")
    socket = web.WebSocketResponse(
        protocols=(ASSAY_V1,),
        compress=False,
        autoclose=False,
        timeout=_CLOSE_SECONDS,
        max_msg_size=settings.most_message_bytes,
    )
    if not socket.can_prepare(request):
        raise HttpError("not_an_upgrade", "the WebSocket's handshake is wrong")
    offset = _offset(request) if speaks_v1 else None
    execution_id = request.query.get("executionID", "")
    if offset is None or _begins(call, execution_id):
        require_execution(call)
    attachment = await call.runner.follow(execution_id, offset=offset)
    try:
        await socket.prepare(request)
    except BaseException:
        await attachment.abandon()
        raise
    await _converse(call, socket, attachment)
    return socket


def _begins(call: Call, execution_id: str) -> bool:
    """Whether who follows it starts it, whatever offset is named."""
    return any(
        each.execution_id == execution_id and each.state is State.PREPARED
        for each in call.runner.executions()
    )


async def _converse(call: Call, socket: web.WebSocketResponse, attachment: Attachment) -> None:
    call.services.sockets.add(socket)
    try:
        if socket.ws_protocol == ASSAY_V1:
            await stream.converse(socket, attachment)
        else:
            transport = call.request.transport
            if transport is None:
                raise ConnectionResetError("the client vanished")
            await poseidon_stream.converse(socket, transport, attachment)
    except ConnectionError:
        await attachment.detach()
    except Exception:
        _log.exception("the conversation about %s failed", attachment.execution_id)
        await attachment.detach()
        await socket.close(code=WSCloseCode.INTERNAL_ERROR)
    except BaseException:
        await attachment.detach()
        raise
    finally:
        call.services.sockets.discard(socket)


def _offset(request: web.Request) -> int | None:
    text = request.query.get("offset")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidInput("offset is a number of bytes")
    return int(text)
