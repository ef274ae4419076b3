"""A connection of the link: slow readers are waited for, ends are told, nothing is lost before."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from assay.domain.errors import ConnectionLost
from assay.link.certificates import for_node, for_server
from assay.link.stream import HOLD_BYTES, LinkStream

HOST = "127.0.0.1"
MOST_ON_THE_WAY = 16 * 2**20
"""What the kernel's own buffers hold at most, both together."""


@contextlib.asynccontextmanager
async def joined(certificates: Path) -> AsyncIterator[tuple[LinkStream, LinkStream]]:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[LinkStream] = loop.create_future()
    server = await loop.create_server(
        lambda: LinkStream(opened.set_result), HOST, 0, ssl=for_node(certificates / HOST)
    )
    port = server.sockets[0].getsockname()[1]
    _, near = await loop.create_connection(
        LinkStream, HOST, port, ssl=for_server(certificates / "main"), server_hostname=HOST
    )
    far = await opened
    try:
        yield near, far
    finally:
        await near.aclose()
        await far.aclose()
        server.close()


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to hold in time")


async def write_until_it_waits(stream: LinkStream) -> int:
    written = 0
    with contextlib.suppress(TimeoutError):
        while written < 2 * MOST_ON_THE_WAY:
            async with asyncio.timeout(0.5):
                await stream.write(bytes(65_536))
            written += 65_536
    return written


@pytest.mark.parametrize("listens", [False, True])
async def test_who_does_not_read_is_waited_for_and_holds_little(
    certificates: Path, listens: bool
) -> None:
    got: list[int] = []
    async with joined(certificates) as (near, far):
        if listens:
            far.listen(lambda data: got.append(len(data)), lambda error: None)
            far.pause()
        written = await write_until_it_waits(near)
        assert written < MOST_ON_THE_WAY
        assert near.try_write(b"x") == 0
        assert len(far._held) <= 2 * HOLD_BYTES
        if listens:
            far.resume()
            await until(lambda: sum(got) >= written)
        else:
            left = written
            while left > 0:  # what waited when its writer gave up comes as well
                left -= len(await far.read(2**20))


async def test_what_was_sent_before_the_end_arrives_and_then_the_end(certificates: Path) -> None:
    sent = bytes(range(256)) * 1000
    async with joined(certificates) as (near, far):
        writing = asyncio.ensure_future(near.write(sent))
        got = b""
        while len(got) < len(sent):
            got += await far.read(1000)
        await writing
        await near.aclose()
        assert got == sent
        assert await far.read(1) == b""
        assert await far.read(1) == b""
        with pytest.raises(ConnectionLost):
            await far.write(b"x")


async def test_a_listener_hears_all_that_was_held_and_the_end_once(certificates: Path) -> None:
    got, ends = bytearray(), []
    async with joined(certificates) as (near, far):
        await near.write(b"before ")
        await asyncio.sleep(0.05)
        far.listen(got.extend, ends.append)
        await near.write(b"after")
        await asyncio.sleep(0.05)
        far.pause()
        await near.write(b" last")
        await near.aclose()
        assert ends == []
        far.resume()
        await until(lambda: bool(ends))
    assert bytes(got) == b"before after last"
    assert ends == [None]


async def test_a_connection_that_is_given_up_is_over_for_both(certificates: Path) -> None:
    async with joined(certificates) as (near, far):
        reading = asyncio.ensure_future(far.read(1))
        await asyncio.sleep(0.01)
        near.abort(ConnectionLost("cut"))
        assert await reading == b""
        with pytest.raises(ConnectionLost):
            await near.read(1)


async def test_who_closes_ends_what_they_wait_for(certificates: Path) -> None:
    async with joined(certificates) as (near, _):
        reading = asyncio.ensure_future(near.read(1))
        await asyncio.sleep(0)
        await near.aclose()
        with pytest.raises(ConnectionLost):
            await reading
        await near.aclose()


async def test_frames_longer_than_what_is_held_arrive(certificates: Path) -> None:
    content = bytes(4 * HOLD_BYTES)
    async with joined(certificates) as (near, far):
        sending = asyncio.ensure_future(near.send(content))
        assert await far.frame(len(content)) == content
        await sending
