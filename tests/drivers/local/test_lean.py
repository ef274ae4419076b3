"""What is `lean`'s own: its helper, what it prepares, and what a sandbox of it is made of."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from local_drivers import Open, give_up_a_creation, helper_of, local_driver, stocked

from assay.agent.client import Agent
from assay.agent.native import program
from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.errors import AssayError, RuntimeFailed
from assay.driver.port import RootFilesystem, SandboxSpec
from assay.drivers.lean import LeanDriver, helper
from assay.drivers.linux import cgroups
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.folder import SandboxFolder
from assay.drivers.linux.stage import words

pytestmark = pytest.mark.root

_NS_GET_USERNS = 0xB701


async def test_the_helpers_death_ends_no_sandbox_and_the_next_is_made_by_another(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        killed = helper_of(lean)
        os.kill(killed, signal.SIGKILL)

        async with open_session(lean, spec) as later:
            assert (await later.run(Command(argv=("/usr/bin/true",)))).outcome.code == 0
        assert helper_of(lean) != killed
        assert (await session.run(Command(argv=("/usr/bin/true",)))).outcome.code == 0


async def test_a_helper_that_is_killed_again_and_again_costs_no_sandbox(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async def kill_now_and_then() -> None:
        for _ in range(20):
            await asyncio.sleep(0.01)
            with_helper = lean.helper if isinstance(lean, LeanDriver) else None
            if with_helper is not None:
                os.kill(with_helper, signal.SIGKILL)

    async def make_some() -> int:
        made = 0
        for _ in range(5):
            try:
                await lean.create(spec)
            except RuntimeFailed:  # killed at both attempts
                continue
            made += 1
        return made

    made, _ = await asyncio.gather(make_some(), kill_now_and_then())

    await lean.create(spec)  # of those before it, a busy machine may have made none
    assert len(await lean.list()) == made + 1
    for sandbox_id in await lean.list():
        agent = await Agent.connect(await lean.connect(sandbox_id), spec.secret)
        await agent.aclose()


async def test_an_agent_is_in_a_group_of_its_own_where_that_is_limited(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        lines = Path(f"/proc/{session.sandbox.facts['process']}/cgroup").read_text().splitlines()
    if not any(":memory:" in line for line in lines):
        pytest.skip("control groups are of version 2 here")
    within = {
        name: path.partition(f"/{session.sandbox.id}")[2]
        for _, names, path in (line.split(":", 2) for line in lines)
        for name in names.split(",")
    }
    assert {name: within[name] for name in ("memory", "pids", "cpu")} == {
        "memory": "/agent", "pids": "/agent", "cpu": "",
    }  # fmt: skip


async def test_another_server_adopts_what_a_first_one_has_made(
    open_driver: Open, spec: SandboxSpec, state: Path
) -> None:
    first = local_driver(None, state)
    sandbox = await first.create(spec)
    await first.aclose()

    async with open_driver(None) as second:
        assert await second.list() == [sandbox.id]
        agent = await Agent.connect(await second.connect(sandbox.id), spec.secret)
        await agent.aclose()


async def test_a_creation_that_nobody_waits_for_any_more_leaves_nothing(
    lean: LocalDriver, spec: SandboxSpec, state: Path
) -> None:
    await lean.destroy((await lean.create(spec)).id)
    await give_up_a_creation(lean, spec)

    assert await lean.list() == []
    assert list((state / "lean/prepared").iterdir()) == []


async def test_one_that_moves_to_the_sandboxes_as_it_is_given_up_leaves_nothing(
    lean: LocalDriver, spec: SandboxSpec, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete, send_signal = helper.Shell.complete, signal.pidfd_send_signal

    async def given_up(shell: helper.Shell, plan: bytes) -> None:
        os.kill(shell.process.pid, signal.SIGSTOP)
        completing = asyncio.create_task(complete(shell, plan))
        await asyncio.sleep(0)  # the plan is sent
        completing.cancel()
        raise RuntimeFailed("given up")

    def send_late(descriptor: int, number: int) -> None:
        """It had time to go on until now."""
        for waiting in (state / "lean/prepared").iterdir():
            process = SandboxFolder(waiting).process()
            assert process is not None
            os.kill(process.pid, signal.SIGCONT)
            while waiting.exists():
                time.sleep(0.001)
        send_signal(descriptor, number)

    monkeypatch.setattr(helper.Shell, "complete", given_up)
    monkeypatch.setattr(signal, "pidfd_send_signal", send_late)
    with pytest.raises(RuntimeFailed, match="given up"):
        await lean.create(spec)
    assert await lean.list() == []
    assert list((state / "lean/prepared").iterdir()) == []


async def test_one_that_ends_by_itself_as_it_is_given_up_leaves_nothing(
    lean: LocalDriver, spec: SandboxSpec, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = state / "lean/prepared"
    close, send_signal = helper.Shell.close, signal.pidfd_send_signal

    def close_later(shell: helper.Shell) -> None:
        """It would end when it sees this: not before somebody has looked whether it runs."""
        os.kill(shell.process.pid, signal.SIGSTOP)
        close(shell)

    def send_too_late(descriptor: int, number: int) -> None:
        send_signal(descriptor, number)
        for waiting in prepared.iterdir():
            process = SandboxFolder(waiting).process()
            while process is not None and Path(f"/proc/{process.pid}").exists():
                time.sleep(0.001)
        raise ProcessLookupError

    monkeypatch.setattr(helper.Shell, "close", close_later)
    monkeypatch.setattr(signal, "pidfd_send_signal", send_too_late)
    with pytest.raises(RuntimeFailed, match="working folder"):
        await lean.create(replace(spec, root=replace(spec.root, working_folder="relative")))
    assert await lean.list() == []
    assert list(prepared.iterdir()) == []


async def test_a_step_that_fails_is_said_and_leaves_nothing(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        own = Path(f"/proc/{session.sandbox.facts['process']}/root")
        on_two_overlays = replace(spec, root=RootFilesystem(digest="x", path=own / "usr"))
        with pytest.raises(AssayError):
            await lean.create(on_two_overlays)
        assert await lean.list() == [session.sandbox.id]


def opened_by(process: str) -> dict[int, tuple[str, int]]:
    """Path and device of each file. Held while asked: a number may be another file's in between."""
    found = {}
    for link in Path("/proc", process, "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of the execution that has just ended
            held = os.open(link, os.O_PATH)
            found[int(link.name)] = (
                str(Path(f"/proc/self/fd/{held}").readlink()),
                os.fstat(held).st_dev,
            )
            os.close(held)
    return found


async def test_process_1_has_nothing_open_but_its_own(lean: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lean, spec) as session:
        await session.run(Command(argv=("/usr/bin/true",)))
        opened = opened_by(session.sandbox.facts["process"])

        path, device = opened.pop(0)
        assert path == "/dev/null"
        assert device != Path("/dev/null").stat().st_dev
        known = {tree.stat().st_dev for tree in Path("/sys/fs/cgroup").iterdir()}
        known.add(Path(session.sandbox.facts["folder"]).stat().st_dev)
        files = [of for of in opened.values() if of[0].startswith("/")]
        assert [path for path, device in files if device not in known] == []


async def test_every_namespace_is_its_own(lean: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lean, spec) as session:
        process = session.sandbox.facts["process"]
        for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
            own = Path("/proc", process, "ns", kind).readlink()
            assert own != Path("/proc/self/ns", kind).readlink(), kind


def owner_of(namespace: Path) -> os.stat_result:
    """The user namespace that a namespace belongs to."""
    opened = os.open(namespace, os.O_RDONLY)
    try:
        owner = fcntl.ioctl(opened, _NS_GET_USERNS)
    finally:
        os.close(opened)
    try:
        return os.fstat(owner)
    finally:
        os.close(owner)


async def test_namespaces_but_that_of_users_belong_to_the_host(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    """So the sandbox's root could not mount anything even if it had all capabilities there."""
    async with open_session(lean, spec) as session:
        spaces = Path("/proc", session.sandbox.facts["process"], "ns")
        for kind in ("cgroup", "ipc", "mnt", "net", "pid", "uts"):
            owner = owner_of(spaces / kind)
            assert os.path.samestat(owner, Path("/proc/self/ns/user").stat()), kind


async def test_nothing_of_the_host_is_mounted_there(lean: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lean, spec) as session:
        table = Path("/proc", session.sandbox.facts["process"], "mountinfo").read_text()
    kinds = {line.partition(" - ")[2].split()[0] for line in table.splitlines()}

    assert kinds <= {"overlay", "tmpfs", "proc", "devpts", "devtmpfs"}
    for line in table.splitlines():
        place = line.split()[4]
        if place.startswith("/proc/"):
            assert "ro" in line.split()[5].split(","), line


async def test_ten_are_ready_soon_after_they_were_asked_for(
    open_driver: Open, spec: SandboxSpec
) -> None:
    took = []
    async with open_driver(None, stock=10) as driver:
        for _ in range(10):  # on a busy machine it is not always so
            await driver.destroy((await driver.create(spec)).id)
            await stocked(driver, 10)
            began = time.monotonic()
            made = await asyncio.gather(*(driver.create(spec) for _ in range(10)))
            took.append(time.monotonic() - began)
            if took[-1] < 0.2:  # ten times the promise for a hundred
                return
            await asyncio.gather(*(driver.destroy(sandbox.id) for sandbox in made))
    raise AssertionError(f"they took {took}")


def test_a_word_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="zero byte"):
        words([("show", "/a\0/b", "/c")])


def test_the_program_by_itself_says_what_it_is_for() -> None:
    alone = subprocess.run(
        [program("lean")], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30
    )

    assert alone.returncode == 2
    assert b"no use by itself" in alone.stderr


def test_process_1_of_a_container_does_not_wait_for_ever_for_a_killed_server(
    tmp_path: Path,
) -> None:
    os.mkfifo(gate := tmp_path / "plan")
    container = subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", program("lean"), "follow", gate]
    )
    try:
        children = Path(f"/proc/{container.pid}/task/{container.pid}/children")
        until(lambda: children.read_text() != "")
        waiting = int(children.read_text())
        until(lambda: signal.SIGALRM in handled(waiting))
        os.kill(waiting, signal.SIGALRM)  # rather than wait two minutes for it
        assert container.wait(timeout=30) == 1
    finally:
        container.kill()
        container.wait()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def handled(pid: int) -> set[int]:
    """The signals that a process has handlers for."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def test_a_helper_gets_out_of_its_servers_groups_though_others_tidy_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says ENODEV to who writes a file of a group that is removed at this moment."""
    removed = iter([errno.ENODEV, errno.ENOENT])
    written: list[str] = []

    def put(path: str, text: str) -> None:
        Path(path).parent.rmdir()
        if (number := next(removed, None)) is not None:
            raise OSError(number, os.strerror(number))
        written.append(text)

    monkeypatch.setattr(cgroups, "put", put)
    cgroups.join(f"{tmp_path}/group/cgroup.procs", 7)
    assert written == ["7"]
