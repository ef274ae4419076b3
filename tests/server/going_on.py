"""What goes on while servers come and go: programs, runners in use, a door in front of servers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import assay_client
from assay_client.errors import Busy, ConnectionLost
from assay_client.http import Patience

LINES = 6000
COUNT = f"""
for ((round = 0; round < 60; round++)); do
  for ((line = 0; line < {LINES // 60}; line++)); do echo $((round * {LINES // 60} + line)); done
  sleep 0.2
done
echo done >&2
"""
LIMITS = assay_client.Limits(wall_seconds=50)
COUNTED = "".join(f"{line}\n" for line in range(LINES)).encode()

Place = tuple[str, int]


def client_at(url: str, token: str | None = None, ssl: Any = True) -> assay_client.Client:
    return assay_client.Client(url, token, patience=Patience(request_seconds=40), ssl=ssl)


async def counting(runner: assay_client.Runner) -> assay_client.Process:
    """A program that counts for twelve seconds at least."""
    return await runner.spawn("/bin/bash", "-c", COUNT, limits=LIMITS)


async def whole(collecting: asyncio.Task[tuple[bytes, bytes, assay_client.End]]) -> None:
    """Every byte once, and the end."""
    stdout, stderr, end = await collecting
    assert stdout == COUNTED
    assert stderr == b"done\n"
    assert (end.outcome.kind, end.outcome.code) == ("exited", 0)


async def keep_busy(runner: assay_client.Runner, stop: asyncio.Event) -> int:
    """Run programs one after the other, and count those whose answers have come."""
    count = 0
    while not stop.is_set():
        # Whether it ran isn't known when its server is killed meanwhile; the lease must go on.
        with contextlib.suppress(ConnectionLost, Busy):
            assert (await runner.run("echo", f"{count}")).stdout == f"{count}\n"
            count += 1
        await asyncio.sleep(0.05)
    return count


async def have_idle(*wanted: tuple[assay_client.Client, int], environment: str = "bash") -> bool:
    """Whether so many sandboxes wait for somebody at each of these."""
    pools = [(await client.pool()).get(environment) for client, _ in wanted]
    return [pool and pool.idle for pool in pools] == [count for _, count in wanted]


@contextlib.asynccontextmanager
async def door(port: int, behind: Callable[[], Sequence[Place]]) -> AsyncIterator[None]:
    """Who comes to the port is sent to the first of those behind that listens."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for place in behind():
            with contextlib.suppress(OSError):
                far_reader, far_writer = await asyncio.open_connection(*place)
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
                return
        writer.close()

    server = await asyncio.start_server(carry, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
