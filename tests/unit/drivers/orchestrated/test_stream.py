"""A byte stream through Nomad; at its other end is somebody who says what Nomad says, or not."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from assay.domain.errors import ConnectionLost
from assay.drivers.nomad.speech import SPEECH
from assay.drivers.orchestrated.stream import ExecStream

Behaviour = Callable[[web.WebSocketResponse], Awaitable[None]]


def out(data: bytes) -> str:
    return json.dumps({"stdout": {"data": base64.b64encode(data).decode()}})


@asynccontextmanager
async def talking_to(behaviour: Behaviour) -> AsyncIterator[ExecStream]:
    async def handle(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=1 << 22)
        await socket.prepare(request)
        await behaviour(socket)
        return socket

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        stream = ExecStream(await session.ws_connect(server.make_url("/")), SPEECH)
        try:
            yield stream
        finally:
            await stream.aclose()


async def echo(socket: web.WebSocketResponse) -> None:
    async for message in socket:
        said = json.loads(message.data).get("stdin", {})
        if said.get("close"):
            await socket.send_str('{"stdout":{"close":true}}')
            return
        if "data" in said:
            await socket.send_str(out(base64.b64decode(said["data"])))


async def read_all(stream: ExecStream, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := await stream.read(1000)):
        data += more
    return data


async def test_bytes_go_both_ways() -> None:
    sent = bytes(range(256)) * 1000
    async with talking_to(echo) as stream:
        reading = asyncio.create_task(read_all(stream, len(sent)))
        await stream.write(sent)
        assert await reading == sent


async def test_what_was_handed_over_arrives_though_the_stream_is_closed_at_once() -> None:
    arrived = bytearray()

    async def listen(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            said = json.loads(message.data).get("stdin", {})
            arrived.extend(base64.b64decode(said.get("data", "")))
            if said.get("close"):
                await socket.send_str('{"exited":true,"result":{"exit_code":0}}')
                return

    async with talking_to(listen) as stream:
        for number in range(20):
            assert stream.try_write(b"%03d" % number) == 3
    assert arrived == b"".join(b"%03d" % number for number in range(20))


async def test_the_end_comes_after_all_that_was_said() -> None:
    async def say(socket: web.WebSocketResponse) -> None:
        await socket.send_str(out(b"abc"))
        await socket.send_str('{"stderr":{"data":"' + base64.b64encode(b"oh").decode() + '"}}')
        await socket.send_str('{"exited":true,"result":{"exit_code":1}}')

    async with talking_to(say) as stream:
        assert await stream.read(2) == b"ab"
        assert await stream.read(2) == b"c"
        assert await stream.read(2) == b""
        assert await stream.read(2) == b""
        assert stream.words == "oh"


@pytest.mark.parametrize("said", ["no json", "[]", '{"stdout":{"data":"%%"}}', None])
async def test_what_is_no_answer_of_nomads_breaks_the_stream(said: str | None) -> None:
    async def say(socket: web.WebSocketResponse) -> None:
        if said is not None:
            await socket.send_str(said)
            await socket.receive()

    async with talking_to(say) as stream:
        with pytest.raises(ConnectionLost, match="connection by Nomad"):
            await stream.read(1)


async def test_who_reads_while_the_stream_is_closed_hears_of_it() -> None:
    async with talking_to(echo) as stream:
        reading = asyncio.create_task(stream.read(1))
        await asyncio.sleep(0.05)
        await stream.aclose()
        assert await asyncio.wait_for(reading, 2) == b""
        with pytest.raises(ConnectionLost):
            stream.try_write(b"x")


async def test_a_slow_reader_makes_the_other_side_wait() -> None:
    said = 0

    async def flood(socket: web.WebSocketResponse) -> None:
        nonlocal said
        for _ in range(2000):
            await socket.send_str(out(b"x" * 48000))
            said += 1

    async with talking_to(flood) as stream:
        assert await stream.read(1) == b"x"
        await asyncio.sleep(0.5)
        assert said < 500


async def test_a_reader_that_is_slow_at_the_other_end_is_waited_for() -> None:
    async def sleep(socket: web.WebSocketResponse) -> None:
        await asyncio.sleep(3)

    async with talking_to(sleep) as stream:
        handed = 0
        while handed < 1 << 24 and (more := stream.try_write(b"x" * 48000)):
            handed += more
        assert handed < 1 << 20
