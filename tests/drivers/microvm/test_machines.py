"""What is particular about sandboxes that are machines, restored from one that was kept."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from virtual_machines import FIRST_USER, machine_driver

from assay.agent.client import Agent
from assay.agent.files import list_files
from assay.agent.session import Session, connect, open_session
from assay.domain.command import Command
from assay.domain.errors import AgentRefused, DiskFull, RuntimeMissing, SandboxGone
from assay.domain.limits import ExecutionLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import SandboxSpec, Secret
from assay.drivers.linux import kernel
from assay.drivers.microvm import MicroVmDriver

pytestmark = [pytest.mark.root, pytest.mark.slow]

OpenDriver = Callable[..., AbstractAsyncContextManager[MicroVmDriver]]
RANDOM = "/proc/sys/kernel/random"


async def said(session: Session, *argv: str, most: int | None = 4096) -> bytes:
    limits = ExecutionLimits(output_bytes=most)
    return (await session.run(Command(argv=("/usr/bin/probe", *argv), limits=limits))).stdout


def another(spec: SandboxSpec) -> SandboxSpec:
    return replace(spec, secret=Secret(secrets.token_bytes(32)))


async def test_machines_of_one_that_was_kept_differ_in_all_that_must_be_their_own(
    driver: MicroVmDriver, spec: SandboxSpec
) -> None:
    async with open_session(driver, spec) as one, open_session(driver, another(spec)) as two:
        for argv in (
            ("read", "/dev/urandom"),
            ("random",),
            ("read", f"{RANDOM}/uuid"),
            ("read", f"{RANDOM}/boot_id"),
            ("read", "/etc/machine-id"),
        ):
            first, second = await said(one, *argv), await said(two, *argv)
            assert len(first) >= 32
            assert first != second, argv
        assert await said(one, "read", "/etc/machine-id") != b"0123456789abcdef0123456789abcdef\n"


async def test_machines_know_what_time_it_is_and_sleep_when_there_is_nothing_to_do(
    driver: MicroVmDriver, spec: SandboxSpec
) -> None:
    async with open_session(driver, spec) as session:
        monitor = Path("/proc", session.sandbox.facts["process"])
        bounds = []
        for name in ("now", "later"):
            before = time.time()
            assert await said(session, "write", f"/workspace/{name}", "x") == b""
            bounds.append((before - 1, time.time() + 1))
            if name == "now":
                woken = wakeups(monitor)
                await asyncio.sleep(2)
                woken = wakeups(monitor) - woken
        files = await list_files(session.agent, "/workspace")
        listed = {each.name: each.modified_ns / 1e9 for each in files}
        for name, (earliest, latest) in zip(("now", "later"), bounds, strict=True):
            assert earliest <= listed[name] <= latest
        assert woken < 400  # where a tick is the clock, it is 2,500


def wakeups(process: Path) -> int:
    """How often its threads have slept."""
    found = 0
    for task in (process / "task").iterdir():
        status = (task / "status").read_text()
        found += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


async def test_bytes_of_a_connection_that_was_cut_reach_no_other(
    driver: MicroVmDriver, spec: SandboxSpec
) -> None:
    limits = ExecutionLimits(output_bytes=None, wall_seconds=None, cpu_seconds=None)
    flood = Command(argv=("/usr/bin/probe", "flood", "both", "3000000"), limits=limits)
    sandbox = await driver.create(spec)
    try:
        for epoch in range(1, 4):
            stream = await driver.connect(sandbox.id)
            agent = await Agent.connect(stream, spec.secret, epoch=epoch)
            await agent.start(flood)
            await asyncio.sleep(0.1)
            # Half a frame, and nobody who reads what has come by then.
            await stream.write(b"\xff\xff\0\0\1\0\0\0\x22\0\0\0" + b"x" * 1000)
            await stream.aclose()
            await agent.aclose()
        agent = await connect(driver, sandbox.id, spec.secret, epoch=4)
        await agent.ping()
        assert len(agent.known) == 3
        await agent.aclose()
    finally:
        await driver.destroy(sandbox.id)


async def test_another_server_takes_over_while_the_first_is_still_connected(
    driver: MicroVmDriver, spec: SandboxSpec, open_driver: OpenDriver, shared: Path
) -> None:
    sandbox = await driver.create(spec)
    lost = asyncio.Event()
    agent = await connect(driver, sandbox.id, spec.secret, epoch=1)
    agent.on_lost = lost.set
    other = machine_driver(shared)
    try:
        assert await other.list() == [sandbox.id]
        later = await connect(other, sandbox.id, spec.secret, epoch=2)
        await asyncio.wait_for(lost.wait(), 10)
        with pytest.raises(AgentRefused):
            await connect(driver, sandbox.id, spec.secret, epoch=1)
        await later.ping()
        await later.aclose()
    finally:
        await agent.aclose()
        await other.destroy(sandbox.id)
        await other.aclose()


async def test_a_machine_ends_with_its_monitor_and_that_is_seen(
    driver: MicroVmDriver, spec: SandboxSpec
) -> None:
    async with open_session(driver, spec) as session:
        running = session.run(Command(argv=("/usr/bin/probe", "sleep", "60000")))
        execution = asyncio.create_task(running)
        await asyncio.sleep(0.3)
        os.kill(int(session.sandbox.facts["process"]), signal.SIGKILL)
        completed = await execution
        assert completed.outcome.kind is OutcomeKind.LOST
        state = await driver.examine(session.sandbox.id)
        assert state is not None
        assert not state.running
        with pytest.raises(SandboxGone):
            await driver.connect(session.sandbox.id)


async def test_the_monitor_is_nobody_and_can_change_nothing_that_is_kept(
    driver: MicroVmDriver, spec: SandboxSpec
) -> None:
    async with open_session(driver, spec) as session:
        monitor = Path("/proc", session.sandbox.facts["process"])
        status = dict(
            line.split(":\t", 1) for line in (monitor / "status").read_text().splitlines()
        )
        assert int(status["Uid"].split()[0]) >= FIRST_USER
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert status["Groups"].strip() == ""
        assert (monitor / "ns/net").readlink() != Path("/proc/self/ns/net").readlink()
        kept = [each for each in (monitor / "fd").iterdir() if "memfd:machine" in _place(each)]
        assert kept
        for each in kept:
            with each.open("r+b", buffering=0) as opened, pytest.raises(PermissionError):
                opened.write(b"x")


def _place(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""


# --- faults --------------------------------------------------------------------------------------


async def test_what_is_kept_and_damaged_is_made_anew(
    spec: SandboxSpec, open_driver: OpenDriver, shared: Path
) -> None:
    async with open_driver(shared) as driver, open_session(driver, spec):
        kept = next((shared / "qemu/templates").glob("*/state"))
    with kept.open("r+b") as opened:
        opened.truncate(1000)
    async with open_driver(shared) as driver, open_session(driver, spec) as session:
        assert await said(session, "echo", "well") == b"well\n"
    assert kept.stat().st_size > 1000


async def test_a_disk_that_is_full_is_called_so_and_nothing_is_left(
    spec: SandboxSpec, open_driver: OpenDriver, small_disk: Path
) -> None:
    async with open_driver(small_disk) as driver:
        with pytest.raises(DiskFull):
            await driver.create(spec)
        assert list((small_disk / "qemu/templates").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """With room for an image's disk and half of what a machine's memory takes."""
    kernel.mount("none", tmp_path, "tmpfs", kernel.MountFlag.NONE, "size=40m")
    try:
        yield tmp_path
    finally:
        kernel.detach(tmp_path)


async def test_a_kernel_or_monitor_that_is_missing_is_named_with_what_installs_it(
    spec: SandboxSpec, open_driver: OpenDriver, tmp_path: Path
) -> None:
    async with open_driver(tmp_path, kernel="/nowhere/vmlinuz-6.1") as driver:
        with pytest.raises(RuntimeMissing, match="apt-get install linux-image"):
            await driver.create(spec)
        assert not (await driver.probe()).works
    async with open_driver(tmp_path, monitor="qemu-of-nowhere") as driver:
        health = await driver.probe()
        assert not health.works
        assert "apt-get install qemu-system" in health.problems[0].remedy
        with pytest.raises(RuntimeMissing):
            await driver.create(spec)


async def test_who_stops_waiting_for_the_first_machine_leaves_nothing(
    spec: SandboxSpec, open_driver: OpenDriver, tmp_path: Path
) -> None:
    async with open_driver(tmp_path) as driver:
        making = asyncio.create_task(driver.create(spec))
        await asyncio.sleep(1)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert list((tmp_path / "qemu/templates").iterdir()) == []
