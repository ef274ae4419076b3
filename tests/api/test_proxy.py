"""The reverse proxy between a caller and servers that learners wrote to do harm."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from assay.api.errors import answer_to
from assay.api.origin import origin_of
from assay.api.proxy import PortProxy
from assay.driver.port import ByteStream
from assay.driver.stream import SocketStream

PREFIX = "/api/v1/runners/r-1/ports/8080"
Learner = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Town:
    """A proxy's server, and a learner's server behind it."""

    def __init__(self, proxy: PortProxy) -> None:
        self.proxy = proxy
        self.url = ""
        self.port = 0
        self.client = aiohttp.ClientSession(
            auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )
        self.cleanup: list[Callable[[], Awaitable[Any]]] = [self.client.close]

    async def open(self) -> ByteStream:
        loop = asyncio.get_running_loop()
        connected = socket.socket()
        connected.setblocking(False)
        await loop.sock_connect(connected, ("127.0.0.1", self.port))
        return SocketStream(connected)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            origin = origin_of(request.headers, scheme="http", peer="127.0.0.1")
            return await self.proxy.handle(
                request, self.open, runner_id="r-1", port=8080, origin=origin
            )
        except Exception as error:
            return answer_to(error, request, poseidon=False)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", PREFIX + "{rest:(/.*)?}", self.handle)
        self.url = await self._serve(app)

    async def learner(self, app: web.Application) -> None:
        """Let a server of aiohttp be the learner's."""
        url = await self._serve(app)
        self.port = int(url.split(":")[-1].split("/")[0])

    async def raw_learner(self, learner: Learner) -> None:
        """Let a function of bytes be the learner's server."""

        tasks: list[asyncio.Task[None]] = []

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())
            try:
                await learner(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]

        async def close() -> None:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.cleanup.append(close)

    async def answers(self, data: bytes) -> None:
        """Let the learner's server answer every request with these bytes."""

        async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()

        await self.raw_learner(learner)

    async def _serve(self, app: web.Application) -> str:
        server = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1)
        await server.setup()
        site = web.TCPSite(server, "127.0.0.1", 0)
        await site.start()
        self.cleanup.append(server.cleanup)
        return f"http://127.0.0.1:{server.addresses[0][1]}{PREFIX}"


@pytest.fixture
def patience() -> float:
    """Seconds of the proxy: more than any machine stands still, but where a test waits for them."""
    return 30.0


HASTY = pytest.mark.parametrize("patience", [0.5], ids=["hasty"])


@pytest.fixture
async def town(patience: float) -> AsyncIterator[Town]:
    town = Town(PortProxy(header_seconds=patience, idle_seconds=patience))
    await town.start()
    yield town
    for _ in range(300):
        if not town.proxy._open:
            break
        await asyncio.sleep(0.01)
    assert not town.proxy._open
    for clean in reversed(town.cleanup):
        await clean()
    await asyncio.sleep(0.05)


async def echo(request: web.Request) -> web.Response:
    """Say what came."""
    return web.json_response(
        {
            "method": request.method,
            "path": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "body": (await request.read()).decode(),
        }
    )


async def echoing(town: Town) -> None:
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{rest:.*}", echo)
    await town.learner(app)


async def test_a_request_and_its_answer_pass(town: Town) -> None:
    await echoing(town)
    async with town.client.post(
        URL(f"{town.url}/a/b%20c?x=1&y=%2F", encoded=True), data="hello", headers={"X-Own": "1"}
    ) as answer:
        assert answer.status == 200
        found = await answer.json()
    assert (found["method"], found["path"], found["body"]) == (
        "POST",
        "/a/b%20c?x=1&y=%2F",
        "hello",
    )
    headers = dict(found["headers"])
    assert headers["Host"] == "localhost:8080"
    assert headers["X-Own"] == "1"
    assert headers["X-Forwarded-Prefix"] == PREFIX
    assert headers["X-Forwarded-Proto"] == "http"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_every_method_passes(town: Town, method: str) -> None:
    await echoing(town)
    async with town.client.request(method, town.url) as answer:
        assert answer.status == 200
        if method != "HEAD":
            assert (await answer.json())["method"] == method
            assert (await answer.json())["path"] == "/"


async def test_nothing_that_opens_this_server_reaches_the_learner(town: Town) -> None:
    await echoing(town)
    sent = {
        "Authorization": "Bearer secret",
        "Poseidon-Token": "secret",
        "Cookie": "session=secret",
        "Proxy-Authorization": "secret",
        "Referer": "http://platform.example/secret",
        "X-Forwarded-For": "secret",
        "X-Real-IP": "secret",
        "Forwarded": "for=secret",
        "Connection": "X-Hop",
        "X-Hop": "secret",
        "TE": "secret",
    }
    async with town.client.get(town.url, headers=sent) as answer:
        assert "secret" not in str(await answer.json())


async def test_what_an_answer_may_say_is_on_a_list(town: Town) -> None:
    await town.answers(
        b"HTTP/1.1 200 Evil\r\nSet-Cookie: session=stolen; Path=/\r\nContent-Type: text/html\r\n"
        b"Alt-Svc: h2=evil.example:443\r\nStrict-Transport-Security: max-age=99\r\n"
        b"Clear-Site-Data: *\r\nWWW-Authenticate: Basic realm=password-please\r\n"
        b"X-Accel-Redirect: /etc/passwd\r\nX-Sendfile: /etc/passwd\r\nService-Worker-Allowed: /\r\n"
        b"Content-Security-Policy: default-src *\r\nAccess-Control-Allow-Credentials: true\r\n"
        b"Connection: X-Hop\r\nX-Hop: 1\r\nETag: kept\r\nContent-Length: 2\r\n\r\nok"
    )
    async with town.client.get(town.url) as answer:
        assert await answer.read() == b"ok"
        assert answer.reason == "OK"
        passed = {name.lower() for name in answer.headers}
        policy = answer.headers.getall("Content-Security-Policy")
    assert passed - {"date", "server"} == {
        "content-type",
        "etag",
        "content-length",
        "content-security-policy",
        "cache-control",
        "referrer-policy",
        "x-content-type-options",
    }
    assert len(policy) == 1
    assert policy[0].startswith("sandbox ")
    assert "allow-same-origin" not in policy[0]


async def test_redirects_pass_and_are_not_followed(town: Town) -> None:
    await town.answers(
        b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    )
    async with town.client.get(town.url, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "http://169.254.169.254/")


async def test_compressed_answers_pass_as_they_are(town: Town) -> None:
    bomb = b"\x1f\x8b no gzip at all"
    await town.answers(
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
        + bomb
    )
    async with town.client.get(town.url) as answer:
        assert await answer.read() == bomb


async def test_a_port_on_which_nobody_listens_is_502(town: Town) -> None:
    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        return

    await town.raw_learner(learner)
    async with town.client.get(town.url) as answer:
        assert answer.status == 502
        assert answer.content_type == "application/problem+json"
        assert (await answer.json(content_type=None))["code"] == "port_silent"


BAD_ANSWERS = {
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "binary": bytes(range(256)) * 4,
    "a status that is none": b"HTTP/1.1 999 Strange\r\nContent-Length: 0\r\n\r\n",
    "a status of one digit": b"HTTP/1.1 2 OK\r\n\r\n",
    "an upgrade nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
    b"Connection: upgrade\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length that is none": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "a huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
    "an endless field": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n",
    "no end of the header": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_an_answer_that_is_none_is_502(town: Town, name: str) -> None:
    await town.answers(BAD_ANSWERS[name])
    async with town.client.get(town.url) as answer:
        assert answer.status == 502, await answer.text()
        assert answer.content_type == "application/problem+json"


async def test_a_smuggled_second_answer_is_lost(town: Town) -> None:
    await town.answers(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n"
        b"Set-Cookie: a=b\r\n\r\nevil!"
    )
    for _ in range(3):
        async with town.client.get(town.url) as answer:
            assert await answer.read() == b"ok"


async def test_fields_with_control_characters_do_not_pass(town: Town) -> None:
    await town.answers(
        b"HTTP/1.1 200 OK\r\nContent-Language: a\x01b\r\nContent-Disposition: \xff\xfe\r\n"
        b"ETag: w\xc3\xb6rt\r\nContent-Length: 2\r\n\r\nok"
    )
    async with town.client.get(town.url) as answer:
        assert answer.status in (200, 502)
        assert "Content-Language" not in answer.headers
        assert "Content-Disposition" not in answer.headers


async def fetch(town: Town) -> bytes:
    async with town.client.get(town.url) as found:
        found.raise_for_status()
        return await found.read()


async def test_a_body_that_is_cut_off_does_not_look_whole(town: Town) -> None:
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf",
    ):
        await town.answers(answer)
        with pytest.raises(aiohttp.ClientError):
            await fetch(town)


async def test_a_body_without_a_length_is_not_whole_when_the_connection_broke(town: Town) -> None:
    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(0.05)
        reset = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)

    await town.raw_learner(learner)
    with pytest.raises(aiohttp.ClientError):
        await fetch(town)


async def test_both_lengths_at_once_are_sent_on_as_one(town: Town) -> None:
    await town.answers(
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\n"
    )
    async with town.client.get(town.url) as answer:
        if answer.status == 200:
            assert await answer.read() == b"hello"
            assert "Content-Length" not in answer.headers
        else:
            assert answer.status == 502


@HASTY
async def test_a_header_that_trickles_is_given_up(town: Town) -> None:
    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 1000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    await town.raw_learner(learner)
    async with town.client.get(town.url) as answer:
        assert answer.status == 502


@HASTY
async def test_endless_informational_answers_are_given_up(town: Town) -> None:
    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    await town.raw_learner(learner)
    async with town.client.get(town.url) as answer:
        assert answer.status == 502


@HASTY
async def test_a_body_that_stops_is_given_up(town: Town) -> None:
    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.sleep(5)

    await town.raw_learner(learner)
    with pytest.raises(aiohttp.ClientError):
        async with town.client.get(town.url) as answer:
            await answer.read()


async def test_a_slow_caller_slows_the_learners_server_down(town: Town) -> None:
    sent = 0

    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536

    await town.raw_learner(learner)
    async with town.client.get(town.url) as answer:
        await answer.content.readany()
        before = -1
        while sent != before and sent < 16 * 2**20:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 16 * 2**20


async def test_events_arrive_when_they_are_sent(town: Town) -> None:
    more = asyncio.Event()

    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await more.wait()
        writer.write(b"data: 2\n\n")

    await town.raw_learner(learner)
    async with town.client.get(town.url) as answer:
        assert await answer.content.readany() == b"data: 1\n\n"
        more.set()
        assert await answer.content.read() == b"data: 2\n\n"


async def test_uploads_stream_and_are_bounded(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await echoing(town)

    async def pieces(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield b"a" * 65536

    async with town.client.post(town.url, data=pieces(20)) as answer:
        assert len((await answer.json())["body"]) == 20 * 65536
    monkeypatch.setattr("assay.api.proxy.UPLOAD_MOST", 100_000)
    async with town.client.post(town.url, data=pieces(20)) as answer:
        assert answer.status == 413


async def test_one_runner_has_a_bounded_number_of_connections(town: Town) -> None:
    refused = 0
    all_have_asked = asyncio.Event()

    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await all_have_asked.wait()

    await town.raw_learner(learner)

    async def ask() -> int:
        nonlocal refused
        async with town.client.get(town.url) as answer:
            refused += answer.status == 429
            if refused == 4:
                all_have_asked.set()
            return answer.status

    statuses = await asyncio.gather(*(ask() for _ in range(20)))
    assert sorted(statuses) == [429] * 4 + [502] * 16
    assert not town.proxy._open


@pytest.mark.parametrize("target", [f"{PREFIX}/\xff", f"{PREFIX}/a b"])
async def test_paths_that_are_no_ascii_are_refused(town: Town, target: str) -> None:
    await echoing(town)
    port = int(town.url.split(":")[2].split("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert (await reader.read()).split()[1] == b"400"
    writer.close()


async def test_service_workers_are_refused(town: Town) -> None:
    await echoing(town)
    async with town.client.get(town.url, headers={"Service-Worker": "script"}) as answer:
        assert answer.status == 403


# --- WebSockets ---------------------------------------------------------------------------------


async def shouting(request: web.Request) -> web.WebSocketResponse:
    """Send back what comes, in capitals; close when told to."""
    near = web.WebSocketResponse(protocols=("chat",))
    await near.prepare(request)
    async for message in near:
        if message.data == "close":
            await near.close(code=4001)
        elif message.type is WSMsgType.TEXT:
            await near.send_str(message.data.upper())
        else:
            await near.send_bytes(message.data[::-1])
    return near


async def shouting_learner(town: Town) -> None:
    app = web.Application()
    app.router.add_get("/ws", shouting)
    await town.learner(app)


async def test_websockets_pass_both_ways(town: Town) -> None:
    await shouting_learner(town)
    async with town.client.ws_connect(f"{town.url}/ws", protocols=("other", "chat")) as near:
        assert near.protocol == "chat"
        await near.send_str("hällo")
        assert await near.receive_str() == "HÄLLO"
        await near.send_bytes(b"\x00\xff")
        assert await near.receive_bytes() == b"\xff\x00"
        await near.send_str("close")
        assert (await near.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
        assert near.close_code == 4001


async def test_a_websocket_that_the_learner_refuses_is_502(town: Town) -> None:
    await echoing(town)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await town.client.ws_connect(f"{town.url}/ws")
    assert caught.value.status == 502


async def test_a_caller_that_vanishes_ends_the_learners_websocket(town: Town) -> None:
    ended = asyncio.Event()

    async def waiting(request: web.Request) -> web.WebSocketResponse:
        near = web.WebSocketResponse()
        await near.prepare(request)
        try:
            async for _ in near:
                pass
        finally:
            ended.set()
        return near

    app = web.Application()
    app.router.add_get("/ws", waiting)
    await town.learner(app)
    near = await town.client.ws_connect(f"{town.url}/ws")
    near._response.connection.transport.abort()
    async with asyncio.timeout(20):
        await ended.wait()
    await near.close()


@pytest.mark.parametrize(
    "frames",
    [
        b"\xff\xff\xff\xff",
        b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\x88\x02\x00\x05",
        b"\x81\x02\xff\xfe",
        b"\x01\x01a" * 3,
    ],
)
async def test_frames_that_are_none_end_the_websocket(town: Town, frames: bytes) -> None:
    async def learner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        import base64
        import hashlib

        header = await reader.readuntil(b"\r\n\r\n")
        key = next(
            line.split(b": ")[1]
            for line in header.split(b"\r\n")
            if line.lower().startswith(b"sec-websocket-key")
        )
        magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key + magic).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + frames
        )
        await writer.drain()
        await reader.read()

    await town.raw_learner(learner)
    async with town.client.ws_connect(f"{town.url}/ws") as near:
        message = await near.receive(timeout=20)
        assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
