"""assay.v1, message by message, with scripted executions."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any

import aiohttp
import pytest
from api_server import Serve, services
from scripted import Scripted, ScriptedRunners, ended, outputs, settled

from assay.domain.facts import Facts, Measurement, Source
from assay.runners import InputWindow, Output, Replaced

WEBSOCKET = "runners/r-1/websocket?executionID=e"
V1 = ("assay.v1",)


async def next_message(socket: aiohttp.ClientWebSocketResponse) -> Any:
    """JSON, (stream, offset, bytes), or the code of a Close."""
    message = await socket.receive(timeout=20)
    if message.type is aiohttp.WSMsgType.TEXT:
        return json.loads(message.data)
    if message.type is aiohttp.WSMsgType.BINARY:
        return (*struct.unpack(">BQ", message.data[:9]), message.data[9:])
    return socket.close_code


async def test_a_conversation_from_start_to_bye(serve: Serve) -> None:
    cpu = Measurement(value=5, source=Source.HOST)
    end = ended(Facts(exit_code=3, cpu_ns=cpu), offset=7)
    attachment = Scripted([Output("stderr", 0, b"\xff\0"), Output("stdout", 2, b"12345"), end])
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
        assert socket.protocol == "assay.v1"
        start = {"type": "start", "executionId": "scripted", "resumed": False}
        assert await next_message(socket) == start | {"offset": 0, "inputOffset": 0}
        assert await next_message(socket) == (2, 0, b"\xff\0")
        assert await next_message(socket) == (1, 2, b"12345")
        last = await next_message(socket)
        assert last == {
            "type": "end",
            "outcome": {
                "kind": "exited",
                "code": 3,
                "signal": None,
                "clock": None,
                "reason": None,
            },
            "offset": 7,
            "measurements": {
                "wallNs": None,
                "cpuNs": {"value": 5, "source": "host", "scope": "execution"},
                "peakMemoryBytes": None,
                "outputBytes": None,
                "oomKills": None,
            },
            "startError": None,
        }
        await socket.send_json({"type": "ack", "offset": 7})
        await socket.send_json({"type": "bye"})
        assert await next_message(socket) == 1000
    assert attachment.acknowledged == 7
    assert attachment.done == ["finish"]


async def test_who_loses_the_connection_before_bye_can_come_again(serve: Serve) -> None:
    attachment = Scripted([*outputs("stdout", b"x"), ended()])
    runners = ScriptedRunners(attachment)
    client = await serve(services(runners=runners))
    async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
        for _ in range(3):
            await next_message(socket)
    await settled(attachment, "detach")
    assert attachment.done == ["detach"]
    async with client.ws_connect(f"{WEBSOCKET}&offset=1", protocols=V1) as socket:
        await next_message(socket)
    assert runners.offsets == [None, 1]


async def test_bye_counts_from_who_hangs_up_right_after_it(serve: Serve) -> None:
    attachment = Scripted([ended()])
    client = await serve(services(runners=ScriptedRunners(attachment)))
    for count in range(1, 6):
        async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
            for _ in range(2):
                await next_message(socket)
            await socket.send_json({"type": "bye"})
            connection = socket._response.connection
            assert connection is not None
            connection.transport.close()  # type: ignore[union-attr]
        while len(attachment.done) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert attachment.done == ["finish"] * 5


async def test_every_message_of_a_client_reaches_the_execution(serve: Serve) -> None:
    attachment = Scripted([InputWindow(5, False)])
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
        await next_message(socket)
        assert await next_message(socket) == {"type": "input", "offset": 5, "closed": False}
        await socket.send_bytes(struct.pack(">BQ", 0, 0) + b"\0in")
        await socket.send_json({"type": "end-input"})
        await socket.send_json({"type": "signal", "signal": 2})
        await socket.send_json({"type": "resize", "rows": 30, "columns": 100})
        await socket.send_json({"type": "cancel"})
        assert (await next_message(socket))["type"] == "end"
        await socket.send_json({"type": "bye"})
        assert await next_message(socket) == 1000
    said = [("write", b"\0in", 0), "end-input", ("signal", 2), ("resize", 30, 100), "cancel"]
    assert attachment.done == [*said, "finish"]


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[" * 100_000,
        '{"type":"dance"}',
        '{"type":"ack"}',
        '{"type":"ack","offset":"7"}',
        '{"type":"resize","rows":0,"columns":80}',
        '{"type":"resize","rows":70000,"columns":80}',
        '{"type":"bye"}',
        b"",
        b"\0",
        b"\1" + bytes(8) + b"x",
        struct.pack(">BQ", 0, 500) + b"x",
    ],
    ids=repr,
)
async def test_a_wrong_message_is_refused_and_the_conversation_goes_on(
    serve: Serve, message: str | bytes
) -> None:
    attachment = Scripted()
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
        await next_message(socket)
        await (socket.send_str if isinstance(message, str) else socket.send_bytes)(message)  # type: ignore[operator]
        complaint = await next_message(socket)
        assert (complaint["type"], complaint["code"]) == ("error", "invalid_input")
        await socket.send_json({"type": "cancel"})
        assert (await next_message(socket))["type"] == "end"


async def test_who_is_wrong_again_and_again_is_let_go(serve: Serve) -> None:
    attachment = Scripted()
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
        await next_message(socket)
        for _ in range(200):
            await socket.send_str("?")
        codes = [await next_message(socket) for _ in range(101)]
        assert codes[-1] == 1008
    await settled(attachment, "detach")


async def test_the_older_of_two_connections_is_told(serve: Serve) -> None:
    client = await serve(services(runners=ScriptedRunners(Scripted([Replaced()]))))
    async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
        await next_message(socket)
        assert await next_message(socket) == 4409


async def test_a_server_that_ends_says_that_it_restarts(serve: Serve) -> None:
    attachment = Scripted()
    given = services(runners=ScriptedRunners(attachment))
    client = await serve(given)
    async with client.ws_connect(WEBSOCKET, protocols=V1) as socket:
        await next_message(socket)
        for each in list(given.sockets):
            await each.close(code=1012)
        assert await next_message(socket) == 1012
    await settled(attachment, "detach")
    assert "abandon" not in attachment.done


async def test_an_offset_that_is_no_number_is_refused(serve: Serve) -> None:
    client = await serve(services(runners=ScriptedRunners(Scripted())))
    for offset in ("x", "-1", "9" * 30, "1.5", "²"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(f"{WEBSOCKET}&offset={offset}", protocols=V1)
        assert refused.value.status == 400
