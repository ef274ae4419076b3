"""The fake itself: what it models, and how it fails on demand."""

import asyncio
import time
from dataclasses import replace

import pytest

from assay.agent.client import Agent
from assay.agent.files import read_file, write_file
from assay.agent.messages import hello_frame
from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.errors import (
    AgentRefused,
    ConnectionLost,
    DiskFull,
    DriverError,
    FileError,
    SandboxGone,
)
from assay.domain.facts import KilledBy
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import Capabilities, Cleanup, RootFilesystem, Secret
from assay.drivers.fake import FakeDriver, FakeMachine, Process, run_in_virtual_time


def probe(*argv: str, **options) -> Command:
    return Command(argv=("probe", *argv), **options)


async def connect(driver: FakeDriver, sandbox_id: str, secret: Secret, **options) -> Agent:
    return await Agent.connect(await driver.connect(sandbox_id), secret, **options)


def test_hours_pass_in_milliseconds_and_are_measured_as_hours(spec) -> None:
    async def main() -> None:
        async with open_session(FakeDriver(), spec) as session:
            limits = ExecutionLimits(wall_seconds=None)
            completed = await session.run(probe("sleep", "7200", limits=limits))
            assert completed.facts.wall_ns.value == 7200 * 10**9

    started = time.monotonic()
    run_in_virtual_time(main())
    assert time.monotonic() - started < 5


def test_what_waits_for_nothing_is_found_in_virtual_time() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing will bring about"):
        run_in_virtual_time(main())


def test_processors_are_shared_and_processor_time_is_limited(spec) -> None:
    async def main() -> None:
        spec_of_half = replace(spec, limits=SandboxLimits(cpus=0.5))
        async with open_session(FakeDriver(), spec_of_half) as session:
            alone = await session.run(probe("spin", "1"))
            assert alone.facts.wall_ns.value / 1e9 == pytest.approx(2, rel=0.05)
            limits = ExecutionLimits(cpu_seconds=0.5, wall_seconds=60)
            both = await asyncio.gather(
                *(session.run(probe("spin", "9", limits=limits)) for _ in range(2))
            )
            for one in both:
                assert one.facts.killed_by is KilledBy.CPU
                assert one.facts.cpu_ns.value / 1e9 == pytest.approx(0.5, rel=0.05)
                assert one.facts.wall_ns.value / 1e9 == pytest.approx(2, rel=0.1)

    run_in_virtual_time(main())


def test_an_unclaimed_sandbox_ends_at_its_deadline(spec) -> None:
    async def main() -> None:
        driver = FakeDriver()
        sandbox = await driver.create(replace(spec, unclaimed_seconds=100))
        agent = await connect(driver, sandbox.id, spec.secret)
        await asyncio.sleep(1000)
        await agent.aclose()
        await asyncio.sleep(99)
        assert (await driver.examine(sandbox.id)).running
        await asyncio.sleep(2)
        assert not (await driver.examine(sandbox.id)).running
        with pytest.raises(SandboxGone):
            await driver.connect(sandbox.id)
        assert await driver.list() == [sandbox.id]
        await driver.destroy(sandbox.id)
        assert await driver.list() == []

    run_in_virtual_time(main())


def test_a_host_that_falls_silent_is_dropped(spec) -> None:
    async def main() -> None:
        driver = FakeDriver()
        sandbox = await driver.create(spec)
        stream = await driver.connect(sandbox.id)
        await stream.write(hello_frame(spec.secret, 1))
        await asyncio.sleep(14)
        stream.try_write(b"")
        await asyncio.sleep(2)
        with pytest.raises(ConnectionLost):
            stream.try_write(b"")
        await driver.destroy(sandbox.id)

    run_in_virtual_time(main())


def test_a_connection_that_says_nothing_is_closed_and_the_ninth_replaces_the_first(spec) -> None:
    async def main() -> None:
        driver = FakeDriver()
        sandbox = await driver.create(spec)
        streams = [await driver.connect(sandbox.id) for _ in range(9)]
        await asyncio.sleep(0.1)
        assert await streams[0].read(1) == b""
        await asyncio.sleep(5)
        for stream in streams[1:]:
            assert await stream.read(1) == b""
        await driver.destroy(sandbox.id)

    run_in_virtual_time(main())


async def test_the_highest_epoch_wins(spec) -> None:
    driver = FakeDriver()
    sandbox = await driver.create(spec)
    old = await connect(driver, sandbox.id, spec.secret, epoch=3)
    new = await connect(driver, sandbox.id, spec.secret, epoch=3)
    await asyncio.sleep(0.01)
    assert isinstance(old.lost, ConnectionLost)
    with pytest.raises(AgentRefused) as refused:
        await connect(driver, sandbox.id, spec.secret, epoch=2)
    assert refused.value.detail == "epoch"
    with pytest.raises(AgentRefused):
        await connect(driver, sandbox.id, Secret(b"x" * 32), epoch=9)
    await new.ping()
    await new.aclose()
    await old.aclose()
    await driver.destroy(sandbox.id)


async def test_sandboxes_outlive_their_server(spec) -> None:
    machine = FakeMachine()
    sandbox = await FakeDriver(machine=machine).create(spec)
    restarted = FakeDriver(machine=machine)
    assert await restarted.list() == [sandbox.id]
    agent = await connect(restarted, sandbox.id, spec.secret, epoch=2)
    await agent.aclose()
    await restarted.destroy(sandbox.id)


async def test_creating_fails_as_it_is_told_to(spec) -> None:
    driver = FakeDriver()
    driver.create_faults.error = DiskFull("no room")
    with pytest.raises(DiskFull):
        await driver.create(spec)
    assert not (await driver.probe()).works
    driver.create_faults.error = None
    driver.create_faults.seconds = 0.02
    started = time.monotonic()
    sandbox = await driver.create(spec)
    assert time.monotonic() - started >= 0.02
    await driver.destroy(sandbox.id)
    missing = RootFilesystem(digest="x", path=spec.root.path / "not" / "there")
    with pytest.raises(DriverError):
        await driver.create(replace(spec, root=missing))


async def test_capabilities_are_data(spec) -> None:
    driver = FakeDriver(capabilities=Capabilities(cleanup=Cleanup.STOP_WALK, oom_facts=False))
    async with open_session(driver, spec) as session:
        assert session.agent.capabilities == {"stop-walk", "privileges"}


async def test_an_agent_that_says_nothing_any_more_is_lost(spec) -> None:
    driver = FakeDriver()
    sandbox = await driver.create(spec)
    agent = await connect(driver, sandbox.id, spec.secret)
    driver.agent(sandbox.id).faults.silent = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await agent.ping()
    await agent.aclose()
    await driver.destroy(sandbox.id)


async def test_memory_beyond_the_limit_kills(spec) -> None:
    small = replace(spec, limits=SandboxLimits(memory_bytes=64 * MIB, disk_bytes=16 * MIB))
    async with open_session(FakeDriver(), small) as session:
        fits = await session.run(probe("alloc", "60", "0"))
        assert fits.outcome.success
        assert fits.facts.peak_memory_bytes.value == 60 * MIB
        await write_file(session.agent, "/tmp", "large", bytes(10 * MIB))
        eaten = await session.run(probe("alloc", "60", "0"))
        assert eaten.outcome.kind is OutcomeKind.OUT_OF_MEMORY
        assert eaten.facts.signal == 9


async def test_inodes_are_limited(spec) -> None:
    few = replace(spec, limits=SandboxLimits(inodes=5))
    async with open_session(FakeDriver(), few) as session:
        for number in range(5):
            await write_file(session.agent, "/tmp", str(number), b"")
        with pytest.raises(FileError) as failed:
            await write_file(session.agent, "/tmp", "one-more", b"")
        assert failed.value.reason == "ENOSPC"


async def test_the_root_is_read_only_and_learners_cannot_read_what_is_roots(spec) -> None:
    async with open_session(FakeDriver(), spec) as session:
        for path, error in (("/etc/new", b"EROFS"), ("/etc/passwd", b"EROFS")):
            assert (await session.run(probe("write", path, "x"))).stderr.startswith(error)
        assert (await session.run(probe("read", "/etc/shadow"))).stderr.startswith(b"EACCES")
        allowed = await session.run(probe("read", "/etc/shadow", privileged=True))
        assert allowed.outcome.success
        with pytest.raises(FileError):
            await read_file(session.agent, "/etc", "shadow", most=1000)


async def test_processes_are_limited(spec) -> None:
    few = replace(spec, limits=SandboxLimits(processes=10))
    async with open_session(FakeDriver(), few) as session:
        assert (await session.run(probe("many", "9", "1"))).outcome.success
        assert (await session.run(probe("many", "10", "1"))).stderr.startswith(b"EAGAIN")


async def test_a_stopped_program_goes_on_when_told_to(spec) -> None:
    async def count(process: Process) -> None:
        for number in range(3):
            await process.write(b"%d\n" % number)
            await process.sleep(0.01)

    async with open_session(FakeDriver({"count": count}), spec) as session:
        execution = await session.start(Command(argv=("count",)))
        await execution.signal(19)
        await asyncio.sleep(0.1)
        assert execution.output_offset < 6
        await execution.signal(18)
        assert (await execution.wait()).exit_code == 0


async def test_a_script_that_raises_shows_its_traceback(spec) -> None:
    async def broken(process: Process) -> None:
        raise ZeroDivisionError("in the script")

    async with open_session(FakeDriver({"broken": broken}), spec) as session:
        completed = await session.run(Command(argv=("broken",)))
        assert completed.outcome.code == 1
        assert b"ZeroDivisionError: in the script" in completed.stderr


async def test_a_wrong_use_of_the_probe_is_said(spec) -> None:
    async with open_session(FakeDriver(), spec) as session:
        for argv in ((), ("no-such-verb",), ("exit",), ("exit", "x")):
            assert (await session.run(probe(*argv))).outcome.code == 64
