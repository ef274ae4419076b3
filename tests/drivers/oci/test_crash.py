"""A server that is killed at any moment leaves nothing that a later one can't remove."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from assay.agent.native import program
from assay.drivers.oci import CRUN, RUNC, RUNSC, OciDriver, Runtime

pytestmark = pytest.mark.root

SERVER = """
import asyncio, secrets, sys
from pathlib import Path
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.oci import CRUN, RUNC, RUNSC, OciDriver

async def serve(runtime, state, agent, root, first_user):
    driver = OciDriver(
        runtime={each.name: each for each in (CRUN, RUNC, RUNSC)}[runtime],
        state=Path(state), agent=Path(agent),
        first_user=int(first_user),
    )
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

Open = Callable[..., AbstractAsyncContextManager[OciDriver]]


@pytest.mark.parametrize("runtime", [CRUN, RUNC, RUNSC], ids=lambda runtime: runtime.name)
async def test_what_a_killed_server_left_can_be_destroyed(
    open_driver: Open,
    need: Callable[[Runtime], None],
    state: Path,
    tmp_path: Path,
    runtime: Runtime,
) -> None:
    need(runtime)
    tmp_path.chmod(0o755)
    for name in ("proc", "dev", "tmp", "workspace", ".assay"):
        (tmp_path / name).mkdir()
    found = 0
    for _ in range(8):
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SERVER, runtime.name, state, program("agent"), tmp_path,
            "1000000000", stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert server.stdout is not None
        await server.stdout.readline()
        await asyncio.sleep(random.uniform(0.03, 0.3))
        server.send_signal(signal.SIGKILL)
        await server.wait()

        async with open_driver(runtime) as driver:
            left = await driver.list()
            found += len(left)
            await asyncio.gather(*(driver.destroy(sandbox_id) for sandbox_id in left))
            assert await driver.list() == []

    assert found > 0
