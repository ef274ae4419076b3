"""Runners in real sandboxes: what breaks, what floods, what is large, servers that are killed."""

import asyncio
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from assay.domain.errors import FileError
from assay.domain.limits import MIB
from assay.runners import Ended, FileToWrite, Output
from assay.runners.attachment import Attachment
from assay.runners.events import RunnerReconnected

from .hosting import NO_CEILING, Hosting, hosting

pytestmark = [pytest.mark.root, pytest.mark.slow]

HERE = Path(__file__).parent


async def collect(attachment: Attachment, seconds: float = 30) -> tuple[bytes, Ended]:
    output, ended = bytearray(), None
    async with asyncio.timeout(seconds):
        async for event in attachment.events():
            if isinstance(event, Output):
                assert event.offset == attachment.started_offset + len(output)
                output += event.data
                attachment.acknowledge(event.offset + len(event.data))
            elif isinstance(event, Ended):
                ended = event
    assert ended is not None
    await attachment.finish()
    return bytes(output), ended


async def execute(runner, *argv: str, **how: object) -> tuple[bytes, Ended]:
    command = runner.command(argv, **how)
    return await collect(await runner.follow(await runner.prepare(command)))


async def test_a_broken_connection_loses_no_byte_and_no_runner(server: Hosting) -> None:
    runner = await server.runners.create("bash")
    # It goes on until the last cut, however long a busy machine takes for each of them.
    count = "until [ -e over ]; do echo $((++i)); sleep 0.003; done; echo $((++i)) end"
    command = runner.command(("/bin/bash", "-c", count))
    attachment = await runner.follow(await runner.prepare(command))

    async def cut() -> None:
        former = None
        for _ in range(4):
            await asyncio.sleep(0.15)
            while (agent := runner.link.agent) in (None, former):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await agent._stream.aclose()
            former = agent
        await runner.change_files((), [FileToWrite(path="over", content=b"")])

    cutting = asyncio.create_task(cut())
    output, ended = await collect(attachment)
    await cutting
    lines = output.split(b"\n")
    assert lines[-2:] == [b"%d end" % (len(lines) - 1), b""]
    assert lines[:-2] == [b"%d" % number for number in range(1, len(lines) - 1)]
    assert ended.outcome.code == 0
    assert sum(isinstance(event, RunnerReconnected) for event in server.events) >= 3
    assert (await execute(runner, "/bin/echo", "usable"))[0] == b"usable\n"


async def test_a_slow_reader_of_a_flood_costs_no_memory(server: Hosting) -> None:
    runner = await server.runners.create("bash")
    limits = NO_CEILING
    command = runner.command(("/usr/bin/yes", "x" * 500), limits=limits)
    attachment = await runner.follow(await runner.prepare(command))
    await asyncio.sleep(0.3)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = 0
    async for event in attachment.events():
        assert isinstance(event, Output)
        taken += len(event.data)
        attachment.acknowledge(event.offset + len(event.data))
        if taken > 30 * MIB:
            break
        await asyncio.sleep(0.001)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    await attachment.abandon()
    assert grown < 8 * 1024  # KiB


async def test_sixty_megabytes_in_one_change(server: Hosting) -> None:
    runner = await server.runners.create("bash")
    content = random.Random(1).randbytes(MIB) * 60
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await runner.change_files((), [FileToWrite(path="big", content=content)])
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 16 * 1024  # KiB
    async with runner.read_file("big") as (size, pieces):
        assert size == len(content)
        read = 0
        async for piece in pieces:
            assert piece == content[read : read + len(piece)]
            read += len(piece)
    assert read == size


async def test_files_have_the_meaning_that_poseidons_clients_know(server: Hosting) -> None:
    runner = await server.runners.create("bash")
    with pytest.raises(FileError) as raised:
        await runner.change_files(
            ["never-there"],
            [
                FileToWrite(path="/proc/1/environ", content=b"x"),
                FileToWrite(path="good.txt", content=b"good"),
                FileToWrite(path="mine/"),
                FileToWrite(path="mine/teachers.txt", content=b"good"),
            ],
        )
    assert "/proc/1/environ: " in raised.value.message
    entries = {entry.name: entry for entry in await runner.list_files("./", depth=5)}
    assert (entries["good.txt"].mode, entries["good.txt"].uid) == (0o744, 0)
    assert entries["mine"].mode == 0o1777
    (link,) = await runner.list_files("/proc/self/cwd")
    assert (link.kind, link.link) == ("l", "/workspace")
    (closed,) = await runner.list_files("/proc/1/cwd", privileged=True)
    assert (closed.kind, closed.link) == ("l", "")
    with pytest.raises(FileError):  # learners don't even see that the agent is there
        await runner.list_files("/proc/1/cwd")
    code = "echo 1 > mine/a && rm mine/a && cd mine && ! rm -f teachers.txt && ! mv teachers.txt x"
    assert (await execute(runner, "/bin/bash", "-c", code))[1].outcome.code == 0


async def test_a_trap_in_the_workspace_leads_nowhere_for_the_root_that_writes(
    server: Hosting,
) -> None:
    """A learner's links can't have the privileged write or delete touch what is outside."""
    runner = await server.runners.create("bash")
    traps = "mkdir -p d && ln -s /etc d/etc && ln -s ../../.. d/up && ln -s /proc/1 p"
    assert (await execute(runner, "/bin/bash", "-c", traps))[1].outcome.code == 0
    for path in ("d/etc/x", "d/up/x", "p/x"):
        with pytest.raises(FileError):
            await runner.change_files([path], [FileToWrite(path=path, content=b"x")])
    await runner.change_files(["./*"], ())
    assert await runner.list_files() == []


async def test_a_web_server_answers_on_its_mapped_port(server: Hosting) -> None:
    runner = await server.runners.create("bash")
    await runner.change_files((), [FileToWrite(path="hello.txt", content=b"hello " * 200_000)])
    argv = ("/usr/bin/python3", "-m", "http.server", "8000", "--bind", "127.0.0.1")
    attachment = await runner.follow(await runner.prepare(runner.command(argv)))
    (mapping,) = runner.lease.ports
    answer = b""
    for _ in range(100):
        reader, writer = await asyncio.open_connection(mapping.host, mapping.port)
        writer.write(b"GET /hello.txt HTTP/1.0\r\n\r\n")
        answer = await reader.read(-1)
        writer.close()
        await writer.wait_closed()
        if answer:
            break
        await asyncio.sleep(0.05)
    assert answer.endswith(b"hello " * 200_000)
    await attachment.abandon()


async def test_servers_that_are_killed_lose_nothing_and_leave_nothing(state: Path) -> None:
    """kill -9 in the middle of output, again and again; the client has every byte once."""
    received = state / "received"
    script = [sys.executable, str(HERE / "hosting.py"), str(state)]
    for count in range(1, 5):
        child = await asyncio.create_subprocess_exec(
            *script, str(count), str(received), stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"following\n"
        await asyncio.sleep(0.25)
        child.send_signal(signal.SIGKILL)
        await child.wait()
    async with hosting(state, 5) as server:
        await server.adopt_all()
        (runner,) = server.runners.all(owner="t1")
        (listed,) = runner.executions()
        got = received.read_bytes()
        attachment = await runner.follow(listed.execution_id, offset=len(got))
        rest, ended = await collect(attachment)
        assert ended.outcome.code == 0
        assert got + rest == b"".join(b"%d\n" % number for number in range(1, 400_001))
        assert (await execute(runner, "/bin/echo", "usable"))[0] == b"usable\n"
        await server.runners.delete(runner.id)
