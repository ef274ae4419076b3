"""The host's end of a port, with a machine that behaves, or doesn't."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from assay.domain.errors import ConnectionLost
from assay.drivers.microvm.link import NONCE_BYTES, LinkStream, open_link

TOKEN = bytes(range(32))


def piece(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


async def opened(stale: bytes, after: bytes) -> tuple[LinkStream, socket.socket]:
    ours, machine = socket.socketpair()
    lock, end = os.pipe()
    os.close(end)
    opening = asyncio.create_task(open_link(ours, lock, TOKEN, 2))
    await asyncio.sleep(0.01)
    said = machine.recv(100)
    assert said.startswith(TOKEN)
    assert len(said) == len(TOKEN) + NONCE_BYTES
    machine.sendall(stale + said[len(TOKEN) :] + after)
    return await opening, machine


async def read_all(link: LinkStream) -> bytes:
    whole = b""
    while data := await link.read(3):
        whole += data
    return whole


@pytest.mark.parametrize("stale", [b"", b"\xff", piece(b"old")[:5], b"x" * 100_000])
async def test_what_came_before_the_connection_is_passed_over(stale: bytes) -> None:
    link, machine = await opened(stale, piece(b"hello") + piece(b" you") + piece(b""))
    assert await read_all(link) == b"hello you"
    await link.aclose()
    machine.close()


async def test_pieces_may_come_in_any_parts() -> None:
    link, machine = await opened(b"", b"")
    reading = asyncio.create_task(read_all(link))
    for byte in piece(b"hello") + piece(b""):
        machine.sendall(bytes([byte]))
        await asyncio.sleep(0)
    assert await reading == b"hello"
    await link.aclose()
    machine.close()


async def test_a_piece_that_is_too_long_breaks_the_connection() -> None:
    link, machine = await opened(b"", b"")
    machine.sendall(b"\xff\xff\xff\xff")
    with pytest.raises(ConnectionLost):
        await link.read(10)
    await link.aclose()
    machine.close()


async def test_a_machine_that_says_nothing_is_given_up() -> None:
    ours, machine = socket.socketpair()
    lock, end = os.pipe()
    os.close(end)
    with pytest.raises(ConnectionLost):
        await open_link(ours, lock, TOKEN, 0.05)
    with pytest.raises(OSError, match="Bad file"):  # its port is free again
        os.fstat(lock)
    machine.close()


async def test_a_machine_that_never_stops_talking_is_given_up() -> None:
    ours, machine = socket.socketpair()
    lock, end = os.pipe()
    os.close(end)
    opening = asyncio.create_task(open_link(ours, lock, TOKEN, 20))
    machine.setblocking(False)
    loop = asyncio.get_running_loop()

    async def talk() -> None:
        while True:
            await loop.sock_sendall(machine, b"x" * 65536)

    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        await talk()
    with pytest.raises(ConnectionLost):
        await opening
    machine.close()
