"""A pool whose Docker is restarted: nobody has to look after it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from engine_daemon import Daemon

sys.path.insert(0, str(Path(__file__).parents[2] / "pool"))

from real_pool import left_over, opened

from assay.agent.native import program
from assay.domain.command import Command
from assay.domain.outcome import OutcomeKind
from assay.drivers.engine import DOCKER, EngineDriver
from assay.pool import SandboxFailed

pytestmark = [pytest.mark.root, pytest.mark.slow]

ECHO = Command(argv=("/bin/echo", "hello"))
SECONDS = 60.0


async def until(so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await so():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)


async def test_a_pool_whose_docker_was_stopped_fills_itself_again_when_that_is_back(
    own_docker: Daemon, state: Path
) -> None:
    driver = EngineDriver(
        product=DOCKER, endpoint=own_docker.endpoint, state=state, agent=program("agent"),
        lean=program("lean"),
    )  # fmt: skip

    async def failed() -> bool:
        return any(isinstance(each, SandboxFailed) for each in real.events)

    async def full() -> bool:
        idle = real.pool.statistics()["bash"].idle
        return idle == 2 and not before & set(await real.driver.list())

    async with opened(state, driver=driver) as real:
        real.set("bash", 2)
        real.pool.start()
        await real.pool.ready()
        warm = await real.pool.claim("bash")
        await real.pool.ready()
        before = set(await real.driver.list())
        running = asyncio.ensure_future(warm.session.run(Command(argv=("/bin/sleep", "50"))))
        await asyncio.to_thread(own_docker.stop)  # which ends its containers
        await until(failed)
        await asyncio.to_thread(own_docker.start)
        assert (await running).outcome.kind is OutcomeKind.LOST
        await real.pool.discard(warm)
        await until(full)
        warm = await real.pool.claim("bash")
        assert (await warm.session.run(ECHO)).stdout == b"hello\n"
        await real.pool.discard(warm)
    assert left_over(state) == []
