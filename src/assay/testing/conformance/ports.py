"""Ports inside of a sandbox."""

from __future__ import annotations

from assay.agent.ports import open_port
from assay.domain.errors import ConnectionLost
from assay.domain.limits import MIB
from assay.driver.port import ByteStream
from assay.testing import pattern
from assay.testing.case import Failure, Group, expect_equal
from assay.testing.workbench import Started, Workbench

group = Group("ports")


async def _exactly(stream: ByteStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.read(size - len(data))
        if not piece:
            break
        data += piece
    return data


async def _server(bench: Workbench, port: int) -> Started:
    started = await bench.start(await bench.shared(), "serve", str(port))
    await started.read(b"listening\n")
    return started


@group.case()
async def tunnel(bench: Workbench) -> None:
    """A stream to a port carries bytes both ways, several at a time."""
    server = await _server(bench, 8080)
    agent = server.session.agent
    streams = [await open_port(agent, 8080) for _ in range(4)]
    for number, stream in enumerate(streams):
        await stream.write(f"hello {number}".encode())
    for number, stream in enumerate(streams):
        expect_equal(await _exactly(stream, 7), f"hello {number}".encode(), "the answer")
    for stream in streams:
        await stream.aclose()
    await server.execution.cancel()
    await server.conclude()


@group.case()
async def large_transfer(bench: Workbench) -> None:
    """Megabytes through a port arrive whole while both sides talk at once."""
    server = await _server(bench, 8081)
    stream = await open_port(server.session.agent, 8081)
    data = pattern.flood(4 * MIB)
    writing = bench.background(stream.write(data))
    expect_equal(await _exactly(stream, len(data)) == data, True, "that it is the same")
    await writing
    await stream.aclose()
    await server.execution.cancel()
    await server.conclude()


@group.case()
async def nobody_listens(bench: Workbench) -> None:
    """A port on which nobody listens gives an error, not silence."""
    stream = await open_port((await bench.shared()).agent, 9)
    try:
        got = await stream.read(10)
    except ConnectionLost:
        return
    finally:
        await stream.aclose()
    raise Failure(f"reading from a closed port gave {got!r}")
