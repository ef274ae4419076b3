"""A server that is killed in the middle of its writes finds every one that it was told of."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest

from assay.storage.database import Storage

Open = Callable[[str], Awaitable[Storage]]

WRITER = """
import asyncio, sys
from assay.driver.port import Secret
from assay.storage.database import Storage
from assay.storage.records import SandboxRecord

async def write(storage, column, run):
    for number in range(100_000):
        name = f"{run}-{column}-{number}"
        await storage.add_sandbox(SandboxRecord(
            id=name, driver="d", environment="e", version="v", secret=Secret(bytes(32)),
            created_at=float(number)))
        if number % 2:
            await storage.take_sandbox(name)
            name += " taken"
        sys.stdout.write(name + "\\n")
        sys.stdout.flush()

async def main(url, run):
    storage = await Storage.open(url)
    await storage.next_epoch()
    await asyncio.gather(*(write(storage, column, run) for column in range(5)))

asyncio.run(main(*sys.argv[1:]))
"""


async def killed_after(seconds: float, *arguments: str) -> list[str]:
    """The whole lines that a writer had printed until it was killed."""
    command = [sys.executable, "-c", WRITER, *arguments]
    writer = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert writer.stdout is not None
    first = await writer.stdout.readline()
    await asyncio.sleep(seconds)
    writer.kill()
    printed = first + await writer.stdout.read()
    await writer.wait()
    return [line for line in printed.decode().splitlines(True) if line.endswith("\n")]


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_is_there_after_a_kill(url: str, open_storage: Open) -> None:
    told = [line.strip() for run in range(2) for line in await killed_after(0.2, url, str(run))]
    assert len(told) > 5
    storage = await open_storage(url)
    found = {each.id: each.taken for each in await storage.sandboxes()}
    for line in told:
        name, _, taken = line.partition(" ")
        assert name in found
        assert found[name] or not taken
    assert await storage.next_epoch() == 3
