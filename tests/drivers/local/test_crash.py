"""A server that is killed at any moment leaves nothing that a later one can't remove."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from local_drivers import LXC, Open, Technology, named

from assay.drivers.oci import CRUN, RUNC, RUNSC

pytestmark = pytest.mark.root

SERVER = """
import asyncio, secrets, sys
from pathlib import Path
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.agent.native import program
from assay.drivers.lean import LeanDriver
from assay.drivers.lxc import LxcDriver
from assay.drivers.oci import CRUN, RUNC, RUNSC, OciDriver

async def serve(runtime, state, root, first_user):
    common = {"state": Path(state), "agent": program("agent"), "first_user": int(first_user)}
    runtimes = {each.name: each for each in (CRUN, RUNC, RUNSC)}
    if runtime == "lean":
        driver = LeanDriver(program=program("lean"), stock=3, **common)
    elif runtime == "lxc":
        driver = LxcDriver(lean=program("lean"), **common)
    else:
        driver = OciDriver(runtime=runtimes[runtime], **common)
    spec = SandboxSpec(
        root=RootFilesystem(digest="x", path=Path(root)), secret=Secret(secrets.token_bytes(32))
    )
    print("ready", flush=True)
    async def one():
        while True:
            await driver.destroy((await driver.create(spec)).id)
    await asyncio.gather(*(one() for _ in range(4)))

asyncio.run(serve(*sys.argv[1:]))
"""


async def given_up(state: Path) -> None:
    """Wait until what was being prepared has noticed that its server is gone, and has ended; or
    became a sandbox, and its folder that of one, since it had been told so a moment before."""
    for folder in state.glob("*/prepared/*"):
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            finally:
                os.close(lock)


@pytest.mark.parametrize("runtime", [None, CRUN, RUNC, RUNSC, LXC], ids=named)
async def test_what_a_killed_server_left_can_be_destroyed(
    open_driver: Open,
    need: Callable[[Technology], None],
    state: Path,
    tmp_path: Path,
    runtime: Technology,
) -> None:
    need(runtime)
    tmp_path.chmod(0o755)
    for name in ("proc", "dev", "tmp", "workspace", ".assay"):
        (tmp_path / name).mkdir()
    found = 0
    for _ in range(8):
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, named(runtime), state, tmp_path,
            "1000000000", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert server.stdout is not None
        await server.stdout.readline()
        await asyncio.sleep(random.uniform(0.03, 0.3))
        server.send_signal(signal.SIGKILL)
        await server.wait()
        await given_up(state)

        async with open_driver(runtime) as driver:
            left = await driver.list()
            found += len(left)
            await asyncio.gather(*(driver.destroy(sandbox_id) for sandbox_id in left))
            assert await driver.list() == []

    assert found > 0
