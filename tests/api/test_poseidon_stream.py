"""Poseidon's conversation, byte by byte, with scripted executions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from api_server import Serve, services
from scripted import Scripted, ScriptedRunners, ended, outputs, settled

from assay.domain.facts import Facts, KilledBy, Measurement, Source
from assay.runners import EndReason

START = {"type": "start"}
WEBSOCKET = "runners/r-1/websocket?executionID=e"


async def conversation(serve: Serve, attachment: Scripted) -> list[Any]:
    """All messages until the Close, and its code."""
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET) as socket:
        messages = [json.loads(message.data) async for message in socket]
        return [*messages, socket.close_code]


async def test_a_conversation_starts_ends_and_closes_with_1000(serve: Serve) -> None:
    attachment = Scripted([*outputs("stdout", b"Hello"), ended()])
    assert await conversation(serve, attachment) == [
        START,
        {"type": "stdout", "data": "Hello"},
        {"type": "exit", "data": 0},
        1000,
    ]
    await settled(attachment, "finish")
    assert attachment.acknowledged == 5


async def test_a_letter_may_come_in_two_pieces_and_no_letter_is_replaced(serve: Serve) -> None:
    pieces = [*outputs("stdout", "ü€😀".encode()[:4], "ü€😀".encode()[4:])]
    between = outputs("stderr", b"ok")
    attachment = Scripted(
        [pieces[0], *between, pieces[1], *outputs("stdout", b"\xff\xe2\x82"), ended()]
    )
    messages = await conversation(serve, attachment)
    text = {"stdout": "", "stderr": ""}
    for message in messages[1:-2]:
        text[message["type"]] += message["data"]
    assert text == {"stdout": "ü€😀��", "stderr": "ok"}


OOM = Measurement(value=1, source=Source.HOST)


@pytest.mark.parametrize(
    ("facts", "last"),
    [
        (Facts(exit_code=3), {"type": "exit", "data": 3}),
        (Facts(exit_code=137), {"type": "exit", "data": 137}),
        (Facts(signal=11), {"type": "exit", "data": 139}),
        (Facts(signal=9, oom_kills=OOM), {"type": "exit", "data": 137}),
        (Facts(exit_code=1, oom_kills=OOM), {"type": "exit", "data": 137}),
        (Facts(signal=9, killed_by=KilledBy.WALL), {"type": "timeout"}),
        (Facts(signal=9, killed_by=KilledBy.CPU), {"type": "timeout"}),
        (Facts(signal=9, killed_by=KilledBy.CANCEL), {"type": "exit", "data": 130}),
        (Facts(lost=EndReason.IDLE.value), {"type": "timeout"}),
        (Facts(lost=EndReason.EXPIRED.value), {"type": "timeout"}),
        (
            Facts(lost=EndReason.DELETED.value),
            {"type": "error", "data": "the allocation stopped as expected"},
        ),
        (Facts(lost="the agent died"), {"type": "error", "data": "Error executing the request"}),
        (Facts(lost="died", oom_kills=OOM), {"type": "exit", "data": 137}),
    ],
    ids=str,
)
async def test_every_outcome_has_one_last_message(
    serve: Serve, facts: Facts, last: dict[str, Any]
) -> None:
    assert await conversation(serve, Scripted([ended(facts)])) == [START, last, 1000]


async def test_too_much_output_is_said_on_standard_error(serve: Serve) -> None:
    attachment = Scripted([ended(Facts(signal=9, killed_by=KilledBy.OUTPUT))])
    _, words, last, code = await conversation(serve, attachment)
    assert (words["type"], last, code) == ("stderr", {"type": "exit", "data": 153}, 1000)


async def test_text_is_input_and_a_client_that_closes_has_the_program_killed(serve: Serve) -> None:
    attachment = Scripted(outputs("stdout", b"name? "))
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET) as socket:
        assert json.loads((await socket.receive()).data) == START
        await socket.send_str("Bob\n")
        await socket.send_bytes(b"ignored")
        await socket.send_str("é")
        await settled(attachment, ("write", "é".encode(), None))
        await socket.close()
    await settled(attachment, "abandon")
    assert attachment.done[0] == ("write", b"Bob\n", None)
    assert ("write", b"ignored", None) not in attachment.done
    assert "finish" not in attachment.done


async def test_a_client_that_vanishes_does_not_end_the_program(serve: Serve) -> None:
    attachment = Scripted()
    client = await serve(services(runners=ScriptedRunners(attachment)))
    socket = await client.ws_connect(WEBSOCKET)
    await socket.receive()
    assert socket._response.connection is not None
    socket._response.connection.transport.abort()  # type: ignore[union-attr]
    await settled(attachment, "detach")
    assert attachment.done == ["detach"]


async def test_a_program_that_reads_nothing_does_not_keep_its_client_from_leaving(
    serve: Serve,
) -> None:
    attachment = Scripted(reads=False)
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET) as socket:
        for _ in range(10):
            await socket.send_str("x" * 50_000)
        await socket.close()
    await settled(attachment, "abandon")


async def test_a_slow_reader_stops_the_flood(serve: Serve) -> None:
    flood = outputs("stdout", *[b"x" * 65_536] * 400)
    attachment = Scripted([*flood, ended()])
    client = await serve(services(runners=ScriptedRunners(attachment)))
    async with client.ws_connect(WEBSOCKET, max_msg_size=0) as socket:
        before = -1
        while attachment.sent != before:  # until nothing moves any more
            before = attachment.sent
            await asyncio.sleep(0.1)
        assert before < 200  # the rest waits at its source, not in the server
        received = 0
        async for message in socket:
            received += message.data.count("x")
        assert received == 400 * 65_536 + 1  # and that of "exit"


async def test_what_is_no_execution_or_no_websocket_is_told_before_the_upgrade(
    serve: Serve,
) -> None:
    client = await serve(services(runners=ScriptedRunners(Scripted())))
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    for path, headers, status, body in (
        ("runners/r-1/websocket?executionID=x", upgrade, 404, "execution id unknown"),
        ("runners/r-1/websocket", upgrade, 404, "execution id unknown"),
        ("runners/r-2/websocket?executionID=e", upgrade, 410, "no runner found with this id"),
        (f"{WEBSOCKET}&generation=2", upgrade, 410, "no runner found with this id"),
        (WEBSOCKET, {}, 400, "WebSockets only"),
        (WEBSOCKET, upgrade | {"Sec-WebSocket-Key": "?"}, 400, "handshake"),
    ):
        async with client.get(path, headers=headers) as answer:
            assert answer.status == status, path
            assert body in (await answer.json())["message"]


async def test_the_runner_is_looked_up_before_the_body_is_judged(serve: Serve) -> None:
    client = await serve(services(runners=ScriptedRunners(Scripted())))
    async with client.patch("runners/r-2/files", data=b"nonsense" * 100_000) as answer:
        assert answer.status == 410
        assert "no runner found" in (await answer.json())["message"]
    async with client.patch("runners/r-1/files", data=b"nonsense") as answer:
        assert answer.status == 400
        assert set(await answer.json()) == {"message"}
