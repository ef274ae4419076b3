"""A byte stream through Kubernetes; at its other end is somebody who says what it says, or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from assay.domain.errors import ConnectionLost
from assay.drivers.kubernetes.speech import VERSIONS, KubernetesSpeech
from assay.drivers.orchestrated.stream import ExecStream

Behaviour = Callable[[web.WebSocketResponse], Awaitable[None]]
SUCCESS = b'\3{"status":"Success"}'


@asynccontextmanager
async def talking_to(behaviour: Behaviour, version: str = VERSIONS[0]) -> AsyncIterator[ExecStream]:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 22, protocols=(version,))
        await socket.prepare(request)
        await behaviour(socket)
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        socket = await session.ws_connect(server.make_url("/"), protocols=VERSIONS)
        stream = ExecStream(socket, KubernetesSpeech(socket.protocol))
        try:
            yield stream
        finally:
            await stream.aclose()


async def echo(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        if message.data == b"\xff\0":
            await socket.send_bytes(SUCCESS)
            return
        await socket.send_bytes(b"\1" + message.data[1:])


async def test_bytes_go_both_ways() -> None:
    sent = bytes(range(256)) * 1000
    got = b""
    async with talking_to(echo) as stream:
        writing = asyncio.create_task(stream.write(sent))
        while len(got) < len(sent):
            got += await stream.read(1000)
        await writing
    assert got == sent


async def test_the_end_comes_after_all_that_was_said() -> None:
    async def say(socket: web.WebSocketResponse) -> None:
        for message in (b"\1abc", b"\2oh", b"", b"\7what", b'\3{"status":"Failure","message":"!"}'):
            await socket.send_bytes(message)

    async with talking_to(say) as stream:
        assert await stream.read(10) == b"abc"
        assert await stream.read(10) == b""
        assert stream.words == "oh!"


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_was_handed_over_arrives_though_the_stream_is_closed_at_once(
    version: str,
) -> None:
    arrived = bytearray()
    ends = []

    async def listen(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if message.data == b"\xff\0":
                ends.append(message.data)
                await socket.send_bytes(SUCCESS)
                return
            arrived.extend(message.data[1:])

    async with talking_to(listen, version) as stream:
        for number in range(20):
            assert stream.try_write(b"%03d" % number) == 3
    await asyncio.sleep(0.1)
    assert arrived == b"".join(b"%03d" % number for number in range(20))
    assert len(ends) == (1 if version == VERSIONS[0] else 0)


@pytest.mark.parametrize("status", [b"\3no json", b"\3[]", b"\3", None])
async def test_what_is_no_end_of_a_program_breaks_the_stream(status: bytes | None) -> None:
    async def say(socket: web.WebSocketResponse) -> None:
        if status is not None:
            await socket.send_bytes(status)
            await socket.receive()

    async with talking_to(say) as stream:
        with pytest.raises(ConnectionLost, match="connection by Kubernetes"):
            await stream.read(1)
