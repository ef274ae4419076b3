"""Carries the bytes of one sandbox between its agent and a server, as fast as they are taken."""

from __future__ import annotations

import asyncio
from typing import Final

from assay.domain.errors import ConnectionLost
from assay.driver.port import ByteStream
from assay.link.stream import LinkStream

_BYTES: Final = 65_536


async def carry(agent: ByteStream, server: LinkStream) -> None:
    """Until either side ends; both are closed then. What was said before an end arrives."""
    outwards = asyncio.ensure_future(_copy(agent, server))
    inwards = asyncio.ensure_future(_copy(server, agent))
    try:
        await asyncio.wait((outwards, inwards), return_when=asyncio.FIRST_COMPLETED)
        if outwards.done() and outwards.exception() is not None:
            server.abort(ConnectionLost("the connection to the agent broke"))
    finally:
        for each in (outwards, inwards):
            each.cancel()
        await asyncio.wait((outwards, inwards))
        await agent.aclose()
        await server.aclose()


async def _copy(source: ByteStream, target: ByteStream) -> None:
    while data := await source.read(_BYTES):
        await target.write(data)
