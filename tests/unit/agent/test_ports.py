"""Streams to ports inside a sandbox."""

import asyncio

import pytest

from assay.agent.ports import open_port
from assay.domain.command import Command
from assay.domain.errors import ConnectionLost, InvalidInput
from assay.driver.port import ByteStream

SERVE = Command(argv=("probe", "serve", "8080"))


@pytest.fixture
async def serving(session):
    opened = await session()
    execution = await opened.start(SERVE)
    output = execution.output()
    assert (await anext(output)).data == b"listening\n"
    yield opened
    execution.abandon()


async def test_bytes_go_there_and_back(serving) -> None:
    port = await open_port(serving.agent, 8080)
    assert isinstance(port, ByteStream)
    data = bytes(range(256)) * 4000
    writing = asyncio.create_task(port.write(data))
    got = b""
    while len(got) < len(data):
        piece = await port.read(1000)
        assert 1 <= len(piece) <= 1000
        got += piece
    await writing
    assert got == data
    await port.aclose()
    await port.aclose()


async def test_the_end_of_input_is_told_and_the_end_of_output_is_read(serving) -> None:
    port = await open_port(serving.agent, 8080)
    await port.write(b"last words")
    await port.end_input()
    assert await port.read(100) == b"last words"
    assert await port.read(100) == b""
    assert await port.read(100) == b""
    with pytest.raises(ConnectionLost):
        await port.write(b"more")
    await port.aclose()


async def test_where_nobody_listens_there_is_no_stream(session) -> None:
    opened = await session()
    port = await open_port(opened.agent, 9)
    with pytest.raises(ConnectionLost, match="nothing answers on port 9"):
        await port.read(10)
    await port.aclose()
    with pytest.raises(ConnectionLost):
        await port.read(10)


@pytest.mark.parametrize("number", [0, -1, 65536])
async def test_ports_have_numbers(session, number: int) -> None:
    with pytest.raises(InvalidInput):
        await open_port((await session()).agent, number)
