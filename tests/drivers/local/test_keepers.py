"""Who waits in a sandbox for its programs: no more than help, and made before they are asked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.agent.session import Session, open_session
from assay.domain.command import Command
from assay.driver.port import SandboxSpec
from assay.drivers.linux.driver import LocalDriver

pytestmark = pytest.mark.root

TRUE = ("/usr/bin/true",)
MANY = 8


def who_waits(session: Session) -> list[int]:
    """All processes of a sandbox but its process 1."""
    first = session.sandbox.facts["process"]
    space = Path("/proc", first, "ns/pid").readlink()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if (process / "ns/pid").readlink() == space:
                found.append(int(process.name))
    return sorted(set(found) - {int(first)})


async def settled(session: Session, holds: Callable[[int], bool]) -> list[int]:
    """Who waits, once there are as many as that, and stay so."""
    async with asyncio.timeout(30):
        calm = 0
        while calm < 10:
            waiting = who_waits(session)
            calm = calm + 1 if holds(len(waiting)) else 0
            await asyncio.sleep(0.01)
    return waiting


async def test_in_an_unused_sandbox_one_process_waits(lean: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lean, spec) as session:
        await settled(session, lambda waiting: waiting == 1)


async def test_a_program_that_is_the_last_leaves_nobody(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        assert (await session.run(Command(argv=TRUE, last=True))).outcome.success
        await settled(session, lambda waiting: waiting == 0)


@pytest.mark.parametrize("privileged", [False, True])
async def test_what_waits_while_root_runs_a_program_serves_nobody_after_it(
    lean: LocalDriver, spec: SandboxSpec, *, privileged: bool
) -> None:
    async with open_session(lean, spec) as session:
        assert (await session.run(Command(argv=TRUE))).outcome.success
        before = await settled(session, lambda waiting: waiting == 3)
        sleep = Command(argv=("/usr/bin/sleep", "1"), privileged=privileged)
        running = asyncio.create_task(session.run(sleep))
        [prepared] = set(await settled(session, lambda there: there == 4)) - set(before)
        assert (await running).outcome.success
        # A root's kill(-1) would have reached it, and it may not have ended yet.
        assert (prepared in await settled(session, lambda waiting: waiting == 3)) != privileged


async def test_the_first_program_leaves_who_makes_the_next_ones(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        [first] = await settled(session, lambda waiting: waiting == 1)
        for _ in range(5):
            assert (await session.run(Command(argv=TRUE))).outcome.success
        # The next process, who made it, and another one in reserve.
        waiting = await settled(session, lambda waiting: waiting == 3)
        assert first not in waiting
        await session.run(Command(argv=TRUE))
        kept = set(waiting) & {*await settled(session, lambda waiting: waiting == 3)}
        assert len(kept) == 2


async def test_who_is_left_is_spared_and_holds_nothing_of_the_program(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    """One that takes milliseconds to end, as all do on a busy machine, takes its keeper along."""
    for _ in range(MANY):
        if await who_is_left_is_spared(lean, spec):
            return
    raise AssertionError(f"none of {MANY} was spared")


async def who_is_left_is_spared(lean: LocalDriver, spec: SandboxSpec) -> bool:
    async with open_session(lean, spec) as session:
        [program] = await settled(session, lambda waiting: waiting == 1)
        execution = await session.start(Command(argv=("/usr/bin/sleep", "60")))
        running = await settled(session, lambda waiting: waiting == 3)
        [left] = [pid for pid in running if pid != program and not streams_of(pid)]
        await execution.cancel()
        await execution.wait()
        return left in await settled(session, lambda waiting: waiting == 2)


def streams_of(pid: int) -> list[str]:
    """Its pipes."""
    opened = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return [each for each in opened if each.startswith("pipe:")]


async def test_programs_run_again_when_all_who_waited_were_killed(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        await session.run(Command(argv=TRUE))
        for _ in range(3):
            killed = await settled(session, lambda waiting: waiting in (2, 3))
            for each in killed:
                with contextlib.suppress(ProcessLookupError):  # it went with another one
                    os.kill(each, signal.SIGKILL)
            async with asyncio.timeout(10):
                # They could take the next program along.
                while set(killed) & set(who_waits(session)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert (await session.run(Command(argv=TRUE))).outcome.success


async def test_a_program_that_is_stopped_as_it_starts_leaves_a_sandbox_that_works(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    """By then who is to be spared may have said nothing yet of who it is."""
    for pause in range(MANY):
        async with open_session(lean, spec) as session:
            await settled(session, lambda waiting: waiting == 1)
            execution = await session.start(Command(argv=("/usr/bin/sleep", "60")))
            await asyncio.sleep(pause * 100e-6)
            await execution.cancel()
            async with asyncio.timeout(30):
                await execution.wait()
            assert (await session.run(Command(argv=TRUE))).outcome.success
            await settled(session, lambda waiting: waiting in (2, 3))
