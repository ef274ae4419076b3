"""A real server process, killed by SIGKILL in the middle of a flood, again and again: the next one
takes over, and the client has every byte once."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest

from assay.agent.client import Agent
from assay.agent.native import program
from assay.domain.command import Command
from assay.domain.facts import KilledBy
from assay.domain.limits import ExecutionLimits
from assay.driver.port import SandboxSpec, Secret
from assay.drivers.oci import CRUN, OciDriver, Runtime
from assay.images import host_image

pytestmark = [pytest.mark.root, pytest.mark.slow]

LINES = 400_000
FLOOD = Command(
    argv=("/usr/bin/seq", str(LINES)),
    limits=ExecutionLimits(wall_seconds=200, cpu_seconds=None, output_bytes=None),
)

# Appends what it receives to a file, the client's memory; a byte is acknowledged only after that.
SERVER = """
import asyncio, sys
from pathlib import Path
from assay.agent.client import Agent
from assay.agent.native import program
from assay.driver.port import Secret
from assay.drivers.oci import CRUN, OciDriver

async def main(state, sandbox, secret, epoch, received):
    driver = OciDriver(runtime=CRUN, state=Path(state), agent=program("agent"))
    stream = await driver.connect(sandbox)
    agent = await Agent.connect(stream, Secret(bytes.fromhex(secret)), epoch=int(epoch))
    with open(received, "ab", buffering=0) as file:
        execution = await agent.attach(agent.known[0].number, offset=file.tell())
        print("attached", flush=True)
        async for chunk in execution.output():
            file.write(chunk.data)
            await asyncio.sleep(0.003)

asyncio.run(main(*sys.argv[1:]))
"""


async def start(driver: OciDriver, state: Path, secret: Secret, command: Command) -> str:
    spec = SandboxSpec(root=host_image(state), secret=secret)
    sandbox = await driver.create(spec)
    agent = await Agent.connect(await driver.connect(sandbox.id), secret, epoch=1)
    await agent.start(command)
    await agent.ping()
    await agent.aclose()
    return sandbox.id


async def test_a_killed_server_loses_and_doubles_no_byte(tmp_path: Path) -> None:
    state, received, secret = tmp_path / "state", tmp_path / "received", Secret(bytes(range(32)))
    driver = OciDriver(runtime=CRUN, state=state, agent=program("agent"))
    sandbox = await start(driver, tmp_path, secret, FLOOD)
    pick, kills = random.Random(7), 0
    try:
        for epoch in range(2, 100):
            server = await asyncio.create_subprocess_exec(
                sys.executable, "-c", SERVER, str(state), sandbox, secret.reveal().hex(),
                str(epoch), str(received), stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert server.stdout is not None
            assert await server.stdout.readline() == b"attached\n"
            await asyncio.sleep(pick.uniform(0, 0.02 if kills < 5 else 0.1))
            server.send_signal(signal.SIGKILL)
            kills += await server.wait() == -signal.SIGKILL
            if received.stat().st_size and received.read_bytes().endswith(b"\n%d\n" % LINES):
                break
    finally:
        await driver.destroy(sandbox)
        await driver.aclose()
    assert kills >= 3, "it was not killed in the middle"
    assert received.read_bytes() == b"".join(b"%d\n" % n for n in range(1, LINES + 1))


@pytest.mark.parametrize("runtime", [CRUN], ids=["crun"])
async def test_limits_hold_while_no_server_is_there(runtime: Runtime, tmp_path: Path) -> None:
    driver = OciDriver(runtime=runtime, state=tmp_path / "state", agent=program("agent"))
    took = []
    try:
        for _ in range(5):  # on a busy machine it may be late
            took.append(await seconds_of_half_a_second(driver, tmp_path))
            if took[-1] < 0.7:
                break
    finally:
        await driver.aclose()
    assert 0.5 <= took[-1] < 0.7, took


async def seconds_of_half_a_second(driver: OciDriver, state: Path) -> float:
    """How long a program runs that may take half a second, while nobody is there for a whole."""
    secret = Secret(bytes(range(32)))
    limits = ExecutionLimits(wall_seconds=0.5, cpu_seconds=None)
    sleep = Command(argv=("/usr/bin/sleep", "60"), limits=limits)
    sandbox = await start(driver, state, secret, sleep)
    await asyncio.sleep(1)
    try:
        agent = await Agent.connect(await driver.connect(sandbox), secret, epoch=2)
        facts = await (await agent.attach(agent.known[0].number)).wait()
        await agent.aclose()
    finally:
        await driver.destroy(sandbox)
    assert facts.killed_by is KilledBy.WALL
    assert facts.wall_ns is not None
    return facts.wall_ns.value / 1e9
