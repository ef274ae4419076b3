"""Clients that don't read, and programs that never stop writing: the server's memory stays flat."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from server_process import ServerProcess

pytestmark = pytest.mark.root

MIB = 1024 * 1024
CLIENTS = 8
EACH_MOST = 3 * MIB
"""What one client that does not read may cost: what the agent may send unacknowledged is 1 MiB."""


def memory_of(pid: int) -> int:
    """Bytes of a process that are in memory."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


async def later_memory_of(pid: int) -> int:
    await asyncio.sleep(1.25)
    return memory_of(pid)


async def flooding(http: aiohttp.ClientSession, protocols: tuple[str, ...]) -> asyncio.StreamWriter:
    """Start a program that floods, and a client that has got the first bytes and reads no more."""
    async with http.post("/api/v1/runners", json={"environment": "bash"}) as answer:
        runner = (await answer.json())["runnerId"]
    asked = {"argv": ["/bin/bash", "-c", "exec yes"], "limits": {"outputBytes": 60 * MIB}}
    async with http.post(f"/api/v1/runners/{runner}/execute", json=asked) as answer:
        assert answer.status == 200, await answer.text()
        url = (await answer.json())["websocketUrl"]
    host, _, path = url.removeprefix("ws://").partition("/")
    reader, writer = await asyncio.open_connection(*host.split(":"), limit=4096)
    protocol = f"Sec-WebSocket-Protocol: {protocols[0]}\r\n" if protocols else ""
    writer.write(
        f"GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {'A' * 22}==\r\n{protocol}\r\n".encode()
    )
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
    await reader.readexactly(1000)
    reader._transport.pause_reading()
    return writer


@pytest.mark.parametrize("protocols", [(), ("assay.v1",)], ids=["poseidon", "assay.v1"])
async def test_a_client_that_does_not_read_leaves_the_servers_memory_flat(
    server: Callable[..., ServerProcess], protocols: tuple[str, ...]
) -> None:
    alive = server(environments=("bash=1",))
    alive.start()
    async with aiohttp.ClientSession(alive.url) as http:
        (await flooding(http, protocols)).close()  # whatever is loaded once, is loaded
        await asyncio.sleep(0.5)
        before = memory_of(alive.pid)
        writers = [await flooding(http, protocols) for _ in range(CLIENTS)]
        filled, later = before, await later_memory_of(alive.pid)
        while later - filled >= MIB and later - before < CLIENTS * EACH_MOST:
            filled, later = later, await later_memory_of(alive.pid)  # until it is full
        for writer in writers:
            writer.transport.abort()
        async with http.get("/api/v1/runners") as answer:
            for runner in (await answer.json())["runners"]:
                await http.delete(f"/api/v1/runners/{runner['runnerId']}")
    print(f"{before / MIB:.1f} MiB, full {filled / MIB:.1f}, later {later / MIB:.1f}")
    assert later - before < CLIENTS * EACH_MOST
