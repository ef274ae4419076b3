"""The life of a sandbox, from each of the port's sides, with real runtimes."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_drivers import LXC, Open, Technology, local_driver, named

import assay
from assay.agent.client import Agent
from assay.agent.native import program
from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.errors import (
    CapabilityMissing,
    DiskFull,
    RuntimeFailed,
    RuntimeMissing,
    SandboxGone,
)
from assay.driver.port import Mount, SandboxSpec, SandboxState
from assay.drivers.linux import spares
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.folder import new_id
from assay.drivers.linux.layout import choose_groups, read_layout
from assay.drivers.linux.users import read_ids
from assay.drivers.oci import CRUN, RUNC, OciDriver

pytestmark = pytest.mark.root


async def test_a_created_sandbox_is_listed_runs_and_is_gone_after_destroy(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    sandbox = await driver.create(spec)

    assert await driver.list() == [sandbox.id]
    state = await driver.examine(sandbox.id)
    assert state is not None
    assert (state.running, state.oom_kills) == (True, 0)
    stream = await driver.connect(sandbox.id)
    agent = await Agent.connect(stream, spec.secret)
    assert "cgroup-kill" in agent.capabilities
    await agent.aclose()

    await driver.destroy(sandbox.id)

    assert await driver.list() == []
    assert await driver.examine(sandbox.id) is None
    with pytest.raises(SandboxGone):
        await driver.connect(sandbox.id)


async def test_probe_makes_a_sandbox_and_says_the_version(driver: LocalDriver) -> None:
    health = await driver.probe()

    assert health.works, health.problems
    assert health.version[-1].isdigit()


async def test_many_at_once_are_all_different(driver: LocalDriver, spec: SandboxSpec) -> None:
    made = await asyncio.gather(*(driver.create(spec) for _ in range(20)))

    assert len({sandbox.id for sandbox in made}) == 20
    assert len({sandbox.facts["first_user"] for sandbox in made}) == 20
    await asyncio.gather(*(driver.destroy(sandbox.id) for sandbox in made))


async def test_destroy_can_be_called_often_and_at_once(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    sandbox = await driver.create(spec)

    await asyncio.gather(*(driver.destroy(sandbox.id) for _ in range(10)))
    await driver.destroy(sandbox.id)
    for unknown in (new_id(), "", "..", "../sandboxes", "a" * 300):
        await driver.destroy(unknown)


async def test_a_sandbox_killed_from_outside_does_not_run_and_can_be_destroyed(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    sandbox = await driver.create(spec)
    os.kill(int(sandbox.facts["process"]), signal.SIGKILL)

    async with asyncio.timeout(10):
        while (state := await driver.examine(sandbox.id)) and state.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert state is not None
    with pytest.raises(SandboxGone):
        await driver.connect(sandbox.id)
    await driver.destroy(sandbox.id)


async def test_another_server_finds_connects_and_destroys(
    open_driver: Open, spec: SandboxSpec
) -> None:
    async with open_driver() as first:
        sandbox = await first.create(spec)
        async with open_driver() as second:
            assert await second.list() == [sandbox.id]
            agent = await Agent.connect(await second.connect(sandbox.id), spec.secret)
            await agent.aclose()
            await asyncio.gather(first.destroy(sandbox.id), second.destroy(sandbox.id))


@pytest.mark.parametrize("delay", [0, 0.001, 0.004, 0.008, 0.012, 0.02])
async def test_a_cancelled_create_leaves_nothing(
    driver: LocalDriver, spec: SandboxSpec, delay: float
) -> None:
    creations = [asyncio.ensure_future(driver.create(spec)) for _ in range(6)]
    await asyncio.sleep(delay)
    for creation in creations:
        creation.cancel()
        creation.cancel()
    done = await asyncio.gather(*creations, return_exceptions=True)

    for result in done:
        if not isinstance(result, BaseException):
            await driver.destroy(result.id)
    assert await driver.list() == []


async def test_a_missing_runtime_is_named_with_the_command_that_installs_it(
    open_driver: Open, spec: SandboxSpec
) -> None:
    async with open_driver(replace(CRUN, program="no-such-runtime")) as driver:
        with pytest.raises(RuntimeMissing, match="apt-get install crun"):
            await driver.create(spec)
        health = await driver.probe()

    assert not health.works
    assert health.problems[0].remedy == "apt-get install crun"


async def test_a_runtime_that_fails_is_quoted(open_driver: Open, spec: SandboxSpec) -> None:
    async with open_driver(replace(CRUN, options=("--no-such-option",))) as driver:
        with pytest.raises(RuntimeFailed) as caught:
            await driver.create(spec)

    assert "no-such-option" in caught.value.detail


async def test_an_agent_that_ends_at_once_is_a_failure(
    state: Path, spec: SandboxSpec, tmp_path: Path
) -> None:
    driver = OciDriver(runtime=CRUN, state=state, agent=Path("/bin/true"))
    try:
        with pytest.raises(RuntimeFailed):
            await driver.create(spec)
    finally:
        await driver.aclose()


async def test_network_is_refused(lean: LocalDriver, spec: SandboxSpec) -> None:
    with pytest.raises(CapabilityMissing):
        await lean.create(replace(spec, network=True))


async def test_a_root_without_a_needed_folder_is_refused_and_untouched(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    (spec.root.path / "workspace").rmdir()

    with pytest.raises(RuntimeFailed, match="mkdir"):
        await lean.create(spec)
    assert not (spec.root.path / "workspace").exists()


@contextlib.contextmanager
def file_system(place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "test", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def no_programs(state: Path) -> Iterator[Path]:
    with file_system(state / "noexec", "noexec,nosuid,nodev") as place:
        yield place


@pytest.fixture
def small_disk(state: Path) -> Iterator[Path]:
    with file_system(state / "small", "size=400k") as place:
        yield place


@pytest.mark.parametrize("runtime", [None, CRUN, RUNC, LXC], ids=named)
async def test_a_state_folder_may_be_where_no_programs_may_run(
    no_programs: Path, spec: SandboxSpec, runtime: Technology, need: Callable[[Technology], None]
) -> None:
    need(runtime)
    driver = local_driver(runtime, no_programs)
    async with open_session(driver, spec) as session:
        assert (await session.run(Command(argv=("/usr/bin/true",)))).outcome.code == 0
    await driver.aclose()


@pytest.mark.parametrize("runtime", [None, CRUN, LXC], ids=named)
async def test_a_full_disk_is_said_to_be_full(
    small_disk: Path, spec: SandboxSpec, runtime: Technology, need: Callable[[Technology], None]
) -> None:
    need(runtime)
    driver = local_driver(runtime, small_disk)
    (small_disk / "filler").write_bytes(bytes(390 * 1024))
    try:
        with pytest.raises(DiskFull, match="free some room"):
            await driver.create(spec)
        assert await driver.list() == []
    finally:
        await driver.aclose()


@pytest.fixture
def mount_later(state: Path) -> Iterator[Callable[[], Path]]:
    later = state / "later"
    later.mkdir()

    def mount() -> Path:
        subprocess.run(["mount", "-t", "tmpfs", "later", later], check=True)
        (later / "file").write_text("seen")
        return later

    yield mount
    subprocess.run(["umount", later], check=True)


async def test_a_folder_mounted_after_the_first_sandbox_is_seen_in_the_next(
    lean: LocalDriver, spec: SandboxSpec, mount_later: Callable[[], Path]
) -> None:
    await lean.create(spec)
    (spec.root.path / "later").mkdir()
    mounts = (*spec.root.mounts, Mount(source=mount_later(), target="/later"))
    shown = replace(spec, root=replace(spec.root, mounts=mounts))

    async with open_session(lean, shown) as session:
        done = await session.run(Command(argv=("/bin/cat", "/later/file")))

    assert done.stdout == b"seen"


async def test_the_runtime_leaves_no_lock_on_a_sandbox(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    sandbox = await driver.create(spec)
    folder = os.open(sandbox.facts["folder"], os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(folder)


async def test_half_made_sandboxes_are_listed_and_can_be_destroyed(
    driver: LocalDriver, spec: SandboxSpec, state: Path
) -> None:
    sandbox = await driver.create(spec)
    folder = Path(sandbox.facts["folder"])
    for name in ("process", "pid", "range", "config.json", "monitor"):
        (folder / name).unlink(missing_ok=True)  # not all drivers note them all
    empty = new_id()
    folder.with_name(empty).mkdir()

    assert await driver.list() == sorted([sandbox.id, empty])
    assert await driver.examine(empty) == SandboxState(running=False)
    await driver.destroy(sandbox.id)
    await driver.destroy(empty)


@pytest.mark.skipif(
    not Path("/sys/fs/cgroup/memory").is_dir(), reason="this machine has no groups of version 1"
)
def test_what_is_removed_while_it_is_looked_at_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    groups, sandbox_id, read = choose_groups(read_layout(), read_ids()), new_id(), os.read
    monkeypatch.setattr(spares, "SPARES_MOST", 0)  # removed, not laid aside
    groups.make(sandbox_id, owner=None)

    def late(file: int, most: int) -> bytes:
        if Path(f"/proc/self/fd/{file}").readlink().name == "cpuacct.usage":
            monkeypatch.setattr(os, "read", read)
            groups.remove(sandbox_id, None)
        return read(file, most)

    assert groups.usage(sandbox_id) is not None
    monkeypatch.setattr(os, "read", late)
    assert groups.usage(sandbox_id) is None
    assert os.read is read


async def test_a_state_folder_deep_down_and_closed_to_others_works(
    state: Path, spec: SandboxSpec
) -> None:
    deep = state.joinpath(*["a-rather-long-name-of-a-folder"] * 6)
    deep.mkdir(parents=True, mode=0o700)
    driver = OciDriver(runtime=CRUN, state=deep, agent=program("agent"))
    try:
        async with open_session(driver, spec) as session:
            done = await session.run(Command(argv=("/bin/true",)))
        assert done.outcome.success
    finally:
        await driver.aclose()


def test_probe_without_root_and_a_user_namespace_says_so() -> None:
    program = """
import asyncio, os
from pathlib import Path
from assay.drivers.oci import CRUN, OciDriver

async def main():
    os.setuid(65534)
    driver = OciDriver(runtime=CRUN, state=Path("/nowhere/state"), agent=Path("/bin/true"))
    health = await driver.probe()
    print(health.works, [problem.remedy for problem in health.problems])
    await driver.aclose()

asyncio.run(main())
"""
    source = str(Path(assay.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "False ['assay doctor']\n", done.stderr
