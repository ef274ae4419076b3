"""WebSocket messages between a caller and a learner's server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Final, Protocol

import aiohttp
from aiohttp import WSMsgType, web

from assay.api.passing import ALWAYS

MESSAGE_MOST: Final = 1024 * 1024
"""Bytes of a message, either way."""
HEARTBEAT_SECONDS: Final = 30.0
"""How often a caller is asked whether it is still there."""
_PROTOCOLS_MOST: Final = 16
_PROTOCOL: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
CLOSE_SECONDS: Final = 1.0
"""How long a side may take to agree to the end."""


class _Socket(Protocol):
    """What both sides of aiohttp's WebSockets have."""

    @property
    def close_code(self) -> int | None: ...
    async def receive(self) -> aiohttp.WSMessage: ...
    async def send_str(self, data: str, /) -> None: ...
    async def send_bytes(self, data: bytes, /) -> None: ...
    async def close(self, *, code: int = 1000) -> bool: ...


def wants_websocket(fields: Mapping[str, str]) -> bool:
    """Whether a request asks to become a WebSocket."""
    return (
        fields.get("Upgrade", "").strip().lower() == "websocket"
        and "upgrade" in fields.get("Connection", "").lower()
    )


def wanted_protocols(fields: Mapping[str, str]) -> tuple[str, ...]:
    """The subprotocols that a caller offers, as far as they are tokens."""
    offered = (part.strip() for part in fields.get("Sec-WebSocket-Protocol", "").split(","))
    return tuple(part for part in offered if _PROTOCOL.fullmatch(part))[:_PROTOCOLS_MOST]


async def pass_messages(
    request: web.Request, far: aiohttp.ClientWebSocketResponse
) -> web.WebSocketResponse:
    """Accept the caller's WebSocket, and pass messages both ways until one side closes."""
    near = web.WebSocketResponse(
        protocols=(far.protocol,) if far.protocol else (),
        heartbeat=HEARTBEAT_SECONDS,
        compress=False,
        max_msg_size=MESSAGE_MOST,
        timeout=CLOSE_SECONDS,
    )
    near.headers.update(ALWAYS)
    await near.prepare(request)
    await carry(near, far)
    near_code, far_code = near.close_code, far.close_code
    await asyncio.gather(near.close(code=code_for(far_code)), far.close(code=code_for(near_code)))
    return near


async def carry(near: _Socket, far: _Socket) -> bool:
    """Pass messages both ways until one side is gone; whether it has said so, by a Close."""
    up, down = asyncio.create_task(_pass(near, far)), asyncio.create_task(_pass(far, near))
    try:
        done, _ = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        return any(task.result() for task in done)
    finally:
        for task in (up, down):
            task.cancel()
        await asyncio.wait((up, down))


async def _pass(source: _Socket, target: _Socket) -> bool:
    """Pass messages on, one at a time: who reads slowly is sent slowly.

    Whether the source has ended with a Close.
    """
    while True:
        message = await source.receive()
        try:
            if message.type is WSMsgType.TEXT:
                await target.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await target.send_bytes(message.data)
            else:
                return message.type is WSMsgType.CLOSE
        except (ConnectionError, aiohttp.ClientError):
            return False


def code_for(code: int | None) -> int:
    """A close code that may be sent, for one that was received."""
    if code is not None and (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        return code
    return 1001 if code is None or code == 1005 else 1011
