"""What is no request, or no sensible one: a clear 4xx, at once, and the server goes on."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import zlib
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from whole_server import settings_in, whole_server

from assay.api.route import PREFIX


class Town:
    """A server, a client of it, and one runner."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self.url = url
        self.host = url.removeprefix("http://")
        self.client = client
        self.runner = ""

    async def raw(self, data: bytes, *, wait: float = 3.0) -> bytes:
        """Send bytes, and return the answer until the server closes, or is silent for a moment."""
        host, port = self.host.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        answer = b""
        try:
            writer.write(data)
            async with asyncio.timeout(wait):
                while b"\r\n\r\n" not in answer and (piece := await reader.read(65536)):
                    answer += piece
        except (ConnectionError, TimeoutError):
            pass
        finally:
            writer.close()
        return answer

    async def status_of(self, data: bytes) -> int:
        answer = await self.raw(data)
        assert answer.startswith(b"HTTP/1."), answer[:200]
        return int(answer.split(b" ", 2)[1])

    async def is_well(self) -> None:
        async with self.client.get(f"{PREFIX}/runners/{self.runner}") as answer:
            assert answer.status == 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("malformed")
    folder.chmod(0o700)
    with whole_server(settings_in(folder, request_mib=1, most_sandboxes=10)) as url:
        yield url


@pytest.fixture
async def town(server: str) -> AsyncIterator[Town]:
    async with aiohttp.ClientSession(server) as client:
        town = Town(server, client)
        async with client.post(f"{PREFIX}/runners", json={"environment": "bash"}) as answer:
            town.runner = (await answer.json())["runnerId"]
        yield town
        await town.is_well()
        async with client.delete(f"{PREFIX}/runners/{town.runner}") as answer:
            assert answer.status == 204


def deep(depth: int) -> bytes:
    return b'{"environment":' + b"[" * depth + b"]" * depth + b"}"


BODIES = {
    "nothing": b"",
    "no json": b"hello",
    "half of a json": b'{"environment": "ba',
    "two jsons": b"{}{}",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "a text where a number is due": b'{"executionEnvironmentId": "one"}',
    "a float where an integer is due": b'{"executionEnvironmentId": 1.5}',
    "a list where a text is due": b'{"environment": ["bash"]}',
    "an integer of 5000 digits": b'{"executionEnvironmentId": ' + b"9" * 5000 + b"}",
    "an integer of 65 bits": b'{"executionEnvironmentId": 18446744073709551616}',
    "a float that is infinite": b'{"environment": "bash", "maximumSeconds": 1e999}',
    "NaN": b'{"environment": "bash", "maximumSeconds": NaN}',
    "Infinity": b'{"environment": "bash", "maximumSeconds": Infinity}',
    "less than nothing": b'{"environment": "bash", "maximumSeconds": -1}',
    "bytes that are no UTF-8": b'{"environment": "\xff\xfe"}',
    "an overlong UTF-8": b'{"environment": "\xc0\x80"}',
    "a lone surrogate": b'{"environment": "\\ud800"}',
    "a NUL in a name": b'{"environment": "ba\\u0000sh"}',
    "a raw NUL": b'{"environment": "ba\x00sh"}',
    "UTF-16": '{"environment": "bash"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"environment": "bash"}',
    "depth of 900": deep(900),
    "depth of 100,000": deep(100_000),
    "an environment that is not there": b'{"environment": "nowhere"}',
    "a path as a name": b'{"environment": "../../etc/passwd"}',
    "a name of a megabyte": b'{"environment": "' + b"a" * 1_000_000 + b'"}',
}


@pytest.mark.parametrize("accept", ["*/*", "application/problem+json"])
async def test_bodies_that_make_no_sense_are_refused(town: Town, accept: str) -> None:
    for name, body in BODIES.items():
        for path in ("/runners", "/run"):
            async with town.client.post(
                PREFIX + path, data=body, headers={"Accept": accept}
            ) as answer:
                text = await answer.text()
                assert answer.status in (400, 404, 413), (name, path, answer.status, text[:300])
                told = json.loads(text)
                message = told.get("message") or told["detail"]
                assert 5 < len(message) <= 4000, (name, message[:2000])


async def test_commands_that_make_no_sense_are_refused(town: Town) -> None:
    path = f"{PREFIX}/runners/{town.runner}/execute"
    for body in (
        {"command": 7},
        {"command": "a\0b"},
        {"argv": []},
        {"argv": ["a\0b"]},
        {"argv": "true"},
        {"argv": [""]},
        {"argv": ["true"], "environment": {"A=B": "x"}},
        {"argv": ["true"], "environment": {"": "x"}},
        {"argv": ["true"], "environment": {"A": "x\0"}},
        {"argv": ["true"], "environment": {"A": 7}},
        {"argv": ["true"] * 100_000},
        {"argv": ["true"], "terminal": {"rows": -1, "columns": 80}},
        {"argv": ["true"], "terminal": {"rows": 24, "columns": 1_000_000}},
        {"argv": ["true"], "limits": {"wallSeconds": -1}},
        {"argv": ["true"], "limits": {"wallSeconds": 1e300}},
        {"argv": ["true"], "limits": {"outputBytes": 2**70}},
        {"command": "true", "timeLimit": -1},
        {"command": "true", "timeLimit": 2**70},
        {"command": "true", "timeLimit": "soon"},
    ):
        async with town.client.post(path, json=body) as answer:
            text = await answer.text()
            assert answer.status == 400, (str(body)[:200], answer.status, text[:300])
            assert len(json.loads(text)["message"]) <= 4000


async def test_files_that_make_no_sense_are_refused(town: Town) -> None:
    path = f"{PREFIX}/runners/{town.runner}/files"
    for body in (
        {"copy": [{"path": "a\0b", "content": ""}]},
        {"copy": [{"path": "a", "content": "no base64!"}]},
        {"copy": [{"path": 7}]},
        {"copy": [{}]},
        {"copy": "a"},
        {"delete": ["a\0b"]},
        {"delete": "a"},
        {"copy": [{"path": "a", "content": 7}]},
    ):
        async with town.client.patch(path, json=body) as answer:
            assert answer.status == 400, (body, answer.status, await answer.text())
    for query in (
        "path=a%00b",
        "path=" + "a" * 5000,
        "path=%FF",
        "path=..%2F..%2F..%2F..%2Fnowhere",
    ):
        for kind in ("files", "files/raw"):
            url = f"{town.url}{PREFIX}/runners/{town.runner}/{kind}?{query}"
            assert await town.status_of(
                f"GET {url.removeprefix(town.url)} HTTP/1.1\r\nHost: {town.host}\r\n\r\n".encode()
            ) in (400, 424), (kind, query)


async def test_bodies_that_are_too_large_are_refused(town: Town) -> None:
    async with town.client.post(f"{PREFIX}/runners", data=io.BytesIO(b" " * 1_100_000)) as answer:
        assert answer.status == 413

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    async with town.client.post(f"{PREFIX}/runners", data=endless()) as answer:
        assert answer.status == 413


async def test_compressed_bodies_are_refused(town: Town) -> None:
    for encoding, data in (
        ("deflate", zlib.compress(b" " * 20_000_000, 9)),
        ("gzip", b"not compressed"),
        ("br", b""),
        ("gzip, gzip", b"{}"),
    ):
        async with town.client.post(
            f"{PREFIX}/runners", data=data, headers={"Content-Encoding": encoding}
        ) as answer:
            assert answer.status == 415, await answer.text()


REQUESTS = {
    "no request": b"hello\r\n\r\n",
    "binary": bytes(range(256)) + b"\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\nHost: {host}\r\n\r\n",
    "a method that is none": b"MAKE /api/v1/version HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a path with blanks": b"GET /api/v1/a b HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a path that is no UTF-8": b"GET /api/v1/runners/%ff%fe HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a path with a NUL": b"GET /api/v1/runners/a%00b HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a bad percent": b"GET /api/v1/runners/%zz%1 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a surrogate": b"GET /api/v1/runners/%ed%a0%80 HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a long path": b"GET /api/v1/" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "dots": b"GET /api/v1/../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "a field without a colon": b"GET /api/v1/runners HTTP/1.1\r\nHost: {host}\r\nhello\r\n\r\n",
    "a field with a NUL": b"GET /api/v1/runners HTTP/1.1\r\nHost: {host}\r\nX: a\x00b\r\n\r\n",
    "a field with a blank": b"GET /api/v1/runners HTTP/1.1\r\nHost: {host}\r\nX Y: z\r\n\r\n",
    "a large field": b"GET /api/v1/runners HTTP/1.1\r\nHost: {host}\r\nX: "
    + b"a" * 20_000
    + b"\r\n\r\n",
    "many fields": b"GET /api/v1/runners HTTP/1.1\r\nHost: {host}\r\n"
    + b"X: y\r\n" * 10_000
    + b"\r\n",
    "two lengths": b"POST /api/v1/runners HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\n"
    b"Content-Length: 3\r\n\r\n{}",
    "a length below zero": b"POST /api/v1/runners HTTP/1.1\r\nHost: {host}\r\n"
    b"Content-Length: -2\r\n\r\n{}",
    "a length of words": b"POST /api/v1/runners HTTP/1.1\r\nHost: {host}\r\n"
    b"Content-Length: two\r\n\r\n{}",
    "a length and chunks": b"POST /api/v1/runners HTTP/1.1\r\nHost: {host}\r\n"
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that are none": b"POST /api/v1/runners HTTP/1.1\r\nHost: {host}\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "an encoding that is none": b"POST /api/v1/runners HTTP/1.1\r\nHost: {host}\r\n"
    b"Transfer-Encoding: gzip\r\n\r\n{}",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_is_no_request_is_refused(town: Town, name: str) -> None:
    data = REQUESTS[name].replace(b"{host}", town.host.encode())
    assert 400 <= await town.status_of(data) < 500


WEBSOCKET = (
    b"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(bytes(16))
    + b"\r\n\r\n"
)  # fmt: skip
HANDSHAKES = {
    "no upgrade": (b"Upgrade: websocket\r\n", b""),
    "an upgrade to something else": (b"websocket", b"telnet"),
    "no connection": (b"Connection: Upgrade\r\n", b""),
    "no key": (b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)) + b"\r\n", b""),
    "a key that is none": (base64.b64encode(bytes(16)), b"hello"),
    "a long key": (base64.b64encode(bytes(16)), base64.b64encode(bytes(300))),
    "another version": (b"Version: 13", b"Version: 99"),
    "no version": (b"Sec-WebSocket-Version: 13\r\n", b""),
}


async def prepared(town: Town, **request: object) -> str:
    body = {"argv": ["/usr/bin/probe", "cat"], "stdin": True, **request}
    async with town.client.post(f"{PREFIX}/runners/{town.runner}/execute", json=body) as answer:
        assert answer.status == 200, await answer.text()
        url: str = (await answer.json())["websocketUrl"]
    return url.partition(town.host)[2]


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_handshakes_that_are_none_are_refused_and_use_up_nothing(
    town: Town, name: str
) -> None:
    path = await prepared(town)
    good = WEBSOCKET.replace(b"{path}", path.encode()).replace(b"{host}", town.host.encode())
    old, new = HANDSHAKES[name]
    assert 400 <= await town.status_of(good.replace(old, new)) < 500
    assert await town.status_of(good) == 101


async def test_executions_that_are_none_are_refused_before_the_upgrade(town: Town) -> None:
    base = f"{PREFIX}/runners/{town.runner}/websocket"
    for query, statuses in (
        ("", (400, 404)),
        ("?executionID=", (400, 404)),
        ("?executionID=nothing", (404,)),
        ("?executionID=%00", (400, 404)),
        ("?executionID=%ff", (400, 404)),
        ("?executionID=" + "a" * 4000, (400, 404)),
        ("?executionID=a&offset=x", (400, 404)),
        ("?executionID=a&offset=-1", (400, 404)),
        ("?executionID=a&offset=" + "9" * 400, (400, 404)),
    ):
        request = WEBSOCKET.replace(b"{path}", (base + query).encode())
        status = await town.status_of(request.replace(b"{host}", town.host.encode()))
        assert status in statuses, (query, status)
    request = WEBSOCKET.replace(b"{path}", f"{PREFIX}/runners/r-none/websocket".encode())
    assert await town.status_of(request.replace(b"{host}", town.host.encode())) == 410


def frame(opcode: int, payload: bytes, *, masked: bool = True, final: bool = True) -> bytes:
    head = bytes([(0x80 if final else 0) | opcode])
    length = len(payload)
    mark = 0x80 if masked else 0
    if length < 126:
        head += bytes([mark | length])
    else:
        head += bytes([mark | 126]) + length.to_bytes(2, "big")
    return head + (bytes(4) if masked else b"") + payload


FRAMES = {
    "an opcode that is none": frame(3, b"x"),
    "a control frame in parts": frame(9, b"x", final=False),
    "a long control frame": frame(9, b"x" * 126),
    "a close code that is none": frame(8, b"\x00\x05"),
    "half a close code": frame(8, b"\x03"),
    "text that is no UTF-8": frame(1, b"\xff\xfe"),
    "a continuation of nothing": frame(0, b"x"),
    "reserved bits": bytes([0xF1, 0x80]) + bytes(4),
    "a frame of 9 exabytes": bytes([0x82, 0xFF]) + b"\x7f" + b"\xff" * 7 + bytes(4),
    "too large": bytes([0x82, 0xFF]) + (64 * 2**20).to_bytes(8, "big") + bytes(4),
    "parts that never end": frame(1, b"a" * 65_000, final=False)
    + frame(0, b"a" * 65_000, final=False) * 70,
    "random": os.urandom(2000),
}


@pytest.mark.parametrize("protocol", ["", "assay.v1"])
@pytest.mark.parametrize("name", FRAMES)
async def test_frames_that_are_none_end_the_connection_and_nothing_else(
    town: Town, name: str, protocol: str
) -> None:
    path = await prepared(town)
    request = WEBSOCKET.replace(b"{path}", path.encode()).replace(b"{host}", town.host.encode())
    if protocol:
        request = request.replace(
            b"Upgrade: websocket", b"Sec-WebSocket-Protocol: assay.v1\r\nUpgrade: websocket"
        )
    host, port = town.host.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    writer.write(FRAMES[name])
    async with asyncio.timeout(20):
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass
    writer.close()


MESSAGES: tuple[str | bytes, ...] = (
    "",
    "hello",
    "[]",
    "{}",
    '{"type":"nothing"}',
    '{"type":"ack"}',
    '{"type":"ack","offset":-1}',
    '{"type":"ack","offset":1e99}',
    '{"type":"ack","offset":99999999999999999999}',
    '{"type":"ack","offset":4611686018427387904}',
    '{"type":"signal","signal":0}',
    '{"type":"signal","signal":-9}',
    '{"type":"signal","signal":999}',
    '{"type":"signal","signal":"KILL"}',
    '{"type":"resize","rows":0,"columns":0}',
    '{"type":"resize","rows":-1,"columns":80}',
    '{"type":"resize","rows":99999999,"columns":80}',
    '{"type":' + "[" * 5000,
    b"",
    b"\x00",
    b"\x07" + bytes(8) + b"x",
    b"\x00" + b"\xff" * 8 + b"x",
    b"\x00" + (2**40).to_bytes(8, "big") + b"x",
)


@pytest.mark.parametrize("message", MESSAGES, ids=range(len(MESSAGES)))
async def test_messages_that_make_no_sense_are_complained_about_or_close_the_connection(
    town: Town, message: str | bytes
) -> None:
    path = await prepared(town)
    async with town.client.ws_connect(town.url + path, protocols=("assay.v1",)) as socket:
        assert (await socket.receive_json())["type"] == "start"
        if isinstance(message, str):
            await socket.send_str(message)
        else:
            await socket.send_bytes(message)
        async with asyncio.timeout(20):
            while True:
                told = await socket.receive()
                if told.type is aiohttp.WSMsgType.TEXT:
                    found = told.json()
                    if found["type"] == "error":
                        assert found["code"]
                        assert found["message"]
                        break
                    assert found["type"] != "end"
                else:
                    assert told.type is not aiohttp.WSMsgType.BINARY
                    assert socket.close_code in (1002, 1003, 1007, 1008, 1009)
                    break
