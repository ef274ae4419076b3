"""What `lean` prepares: processes that wait to become the agents of sandboxes to come."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from local_drivers import Open, give_up_a_creation, stocked

from assay.agent.session import open_session
from assay.domain.command import Command
from assay.driver.port import SandboxSpec
from assay.drivers.lean import LeanDriver, stock
from assay.drivers.lean.plan import Preparation
from assay.drivers.linux.folder import SandboxFolder

pytestmark = pytest.mark.root


async def test_what_is_prepared_is_used_and_is_in_nobodys_list(
    open_driver: Open, spec: SandboxSpec, state: Path
) -> None:
    async with open_driver(None, stock=3) as driver:
        await driver.destroy((await driver.create(spec)).id)
        await stocked(driver, 3)
        waiting = {path.name for path in (state / "lean/prepared").iterdir()}
        assert await driver.list() == []
        async with open_driver(None) as other:
            assert await other.list() == []

        made = await asyncio.gather(*(driver.create(spec) for _ in range(5)))

        assert waiting < {sandbox.id for sandbox in made}
        await stocked(driver, 3)


async def test_what_a_killed_server_had_prepared_ends_and_is_removed_by_the_next(
    open_driver: Open, spec: SandboxSpec, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"""
import asyncio, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from local_drivers import local_driver
from assay.driver.port import RootFilesystem, SandboxSpec, Secret

async def main():
    driver = local_driver(None, Path({str(state)!r}), stock=2)
    root = RootFilesystem(digest="x", path=Path({str(spec.root.path)!r}))
    await driver.destroy((await driver.create(SandboxSpec(root=root, secret=Secret(b"s" * 32)))).id)
    while driver.prepared < 2:
        await asyncio.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    killed = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], timeout=30)
    assert killed.returncode == -signal.SIGKILL
    left = list((state / "lean/prepared").iterdir())
    assert len(left) == 2
    # They hear of it a moment later, and hold their locks until they have ended.
    held = os.open(left[0], os.O_RDONLY)
    await asyncio.to_thread(fcntl.flock, held, fcntl.LOCK_EX)
    monkeypatch.setattr(stock, "_SECONDS_BETWEEN_SWEEPS", 0.1)

    async with open_driver(None, stock=1) as driver:
        await driver.destroy((await driver.create(spec)).id)
        await stocked(driver, 1)
        assert left[0].exists()
        os.close(held)
        async with asyncio.timeout(10):
            while any(path.exists() for path in left):  # noqa: ASYNC110 - by a thread
                await asyncio.sleep(0.01)

    assert not (state / "lean/prepared").exists()


async def test_what_was_reserved_for_a_creation_that_never_began_is_used_by_the_next(
    open_driver: Open, spec: SandboxSpec, state: Path
) -> None:
    async with open_driver(None, stock=4, parallel=1) as driver:
        await driver.destroy((await driver.create(spec)).id)
        await stocked(driver, 4)
        waiting = {path.name for path in (state / "lean/prepared").iterdir()}

        tasks = [asyncio.create_task(driver.create(spec)) for _ in range(4)]
        await asyncio.sleep(0)
        for task in tasks[1:]:  # these are in the queue of the one thread
            task.cancel()
        made = await tasks[0]
        await asyncio.gather(*tasks, return_exceptions=True)

        later = [await driver.create(spec) for _ in range(3)]
        assert {sandbox.id for sandbox in (made, *later)} == waiting


async def kill_the_one_that_waits(state: Path) -> None:
    (waiting,) = (state / "lean/prepared").iterdir()
    process = SandboxFolder(waiting).process()
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    await asyncio.sleep(0.1)


async def test_one_that_was_killed_while_it_waited_is_made_anew(
    open_driver: Open, spec: SandboxSpec, state: Path
) -> None:
    async with open_driver(None, stock=1) as driver:
        await driver.destroy((await driver.create(spec)).id)
        await stocked(driver, 1)
        await kill_the_one_that_waits(state)

        async with open_session(driver, spec) as session:
            assert (await session.run(Command(argv=("/usr/bin/true",)))).outcome.code == 0


async def test_who_gives_up_while_a_killed_one_is_removed_gets_no_sandbox(
    open_driver: Open, spec: SandboxSpec, state: Path
) -> None:
    async with open_driver(None, stock=1) as driver:
        await driver.destroy((await driver.create(spec)).id)
        await stocked(driver, 1)
        await kill_the_one_that_waits(state)
        await give_up_a_creation(driver, spec)
        assert await driver.list() == []


def _is_preparing() -> bool:
    task = asyncio.current_task()
    return task is not None and task.get_name() == stock.PREPARER


async def test_what_can_not_be_prepared_now_is_prepared_later(
    open_driver: Open, spec: SandboxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stock, "_SECONDS_AFTER_FAILURE", 0.1)
    async with open_driver(None, stock=1) as driver:
        assert isinstance(driver, LeanDriver)
        preparations = [b"no-such-step\0", b"no-such-step\0"]
        usual = Preparation.of

        def of(self: Preparation, sandbox_id: str, first_user: int) -> bytes:
            refused = _is_preparing() and preparations
            return preparations.pop() if refused else usual(self, sandbox_id, first_user)

        monkeypatch.setattr(Preparation, "of", of)
        await driver.destroy((await driver.create(spec)).id)
        await stocked(driver, 1)
        assert preparations == []
