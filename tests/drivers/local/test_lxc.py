"""What is LXC's own: its configuration, its process beside each sandbox, and their ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from local_drivers import LXC, local_driver

from assay.agent.native import program
from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.errors import RuntimeFailed, RuntimeMissing
from assay.driver.port import Sandbox, SandboxSpec
from assay.drivers.linux.confinement import MOUNTS, READ_ONLY, Bind, masked_paths
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.process import Process
from assay.drivers.lxc import LxcDriver
from assay.drivers.lxc.configuration import Plan, configuration

pytestmark = pytest.mark.root


def monitor_of(sandbox: Sandbox) -> int:
    return int(Path(sandbox.facts["folder"], "monitor").read_text())


def monitors_of(*sandbox_ids: str) -> list[Path]:
    """Of these sandboxes, those that run; whatever has ended has no command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (path / "cmdline").read_bytes()
            if any(each.encode() in line for each in sandbox_ids):
                found.append(path)
    return found


def settings(*binds: Bind) -> list[tuple[str, str]]:
    plan = Plan(root="/dev/root", binds=binds, first_user=1_000_000_000, command=("/a", "b"))
    lines = configuration(plan).splitlines()
    return [(name, value) for name, _, value in (line.partition(" = ") for line in lines)]


def test_lxc_is_told_all_that_confines_a_sandbox() -> None:
    told = settings()
    mounted = {value.split()[1] for name, value in told if name == "lxc.mount.entry"}

    assert ("lxc.cap.keep", "chown dac_override kill setgid setuid") in told
    assert ("lxc.no_new_privs", "1") in told
    assert ("lxc.idmap", "u 0 1000000000 65536") in told
    assert ("lxc.idmap", "g 0 1000000000 65536") in told
    assert ("lxc.rootfs.options", "ro") in told
    shown = {*(mount.target for mount in MOUNTS), *masked_paths(), *READ_ONLY}
    assert {path.lstrip("/") for path in shown} <= mounted
    shared = [name for name, _ in told if name.startswith(("lxc.namespace", "lxc.hook"))]
    assert shared == []


def test_a_path_with_a_space_or_a_line_feed_is_one_word() -> None:
    told = settings(Bind(source="/dev/0", target="/a b\nlxc.no_new_privs = 0\\", writable=True))

    assert ("lxc.no_new_privs", "0") not in told
    assert (
        "lxc.mount.entry",
        "/dev/0 a\\040b\\012lxc.no_new_privs\\040=\\0400\\134 none bind,nosuid,nodev,rw 0 0",
    ) in told


async def test_every_namespace_is_its_own(lxc: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lxc, spec) as session:
        process = session.sandbox.facts["process"]
        for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"):
            own = Path("/proc", process, "ns", kind).readlink()
            assert own != Path("/proc/self/ns", kind).readlink(), kind


async def test_nothing_of_the_host_is_mounted_or_open_there(
    lxc: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lxc, spec) as session:
        process = Path("/proc", session.sandbox.facts["process"])
        table = (process / "mountinfo").read_text()
        groups = {tree.stat().st_dev for tree in Path("/sys/fs/cgroup").iterdir()}
        strange = []
        for link in (process / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the agent closes some as it works
                path, device = str(link.readlink()), link.stat().st_dev
                if path.startswith("/") and path != "/null" and device not in groups:
                    strange.append(path)
        null = (process / "fd/0").stat().st_dev

    kinds = {line.partition(" - ")[2].split()[0] for line in table.splitlines()}
    assert kinds <= {"overlay", "tmpfs", "proc", "devpts"}
    assert strange == []
    assert null != Path("/dev/null").stat().st_dev


async def test_nothing_of_lxc_stays_beside_a_sandbox(lxc: LocalDriver, spec: SandboxSpec) -> None:
    async with open_session(lxc, spec) as session:
        sandbox = session.sandbox

        assert monitors_of(sandbox.id) == []
        made = [path for path in Path("/sys/fs/cgroup").glob("*/lxc*") if sandbox.id in path.name]
        assert made == []
        assert Process.find(int(sandbox.facts["process"])) is not None
        assert (await session.run(Command(argv=("/usr/bin/true",)))).outcome.code == 0


async def test_a_sandbox_is_in_no_group_of_the_servers_though_it_is_the_first(
    lxc: LocalDriver, spec: SandboxSpec
) -> None:
    for group in Path("/sys/fs/cgroup").glob("*/assay"):
        with contextlib.suppress(OSError):  # others' sandboxes may be in it
            group.rmdir()

    sandbox = await lxc.create(spec)

    lines = Path("/proc", sandbox.facts["process"], "cgroup").read_text().splitlines()
    groups = {names: group for _, names, group in (line.split(":", 2) for line in lines)}
    groups.pop("cpuset", None)
    assert [names for names, group in groups.items() if not group.startswith("/assay")] == []


async def test_whatever_of_lxc_is_killed_while_it_starts_nothing_is_left(
    lxc: LocalDriver, spec: SandboxSpec, state: Path
) -> None:
    ours = str(state).encode()

    async def kill_now_and_then() -> None:
        while True:
            for path in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    line = (path / "cmdline").read_bytes()
                    if b"lxc" in line and ours in line:
                        os.kill(int(path.name), signal.SIGKILL)
            await asyncio.sleep(0.013)

    async def made() -> bool:
        try:
            sandbox = await lxc.create(spec)
        except RuntimeFailed:
            return False
        await lxc.destroy(sandbox.id)
        return True

    killer = asyncio.ensure_future(kill_now_and_then())
    outcomes = [await made() for _ in range(25)]
    killer.cancel()

    assert not all(outcomes), "it was killed too late every time"
    assert await lxc.list() == []
    assert await made()


async def test_lxc_that_is_missing_is_named_with_the_command_that_installs_it(
    state: Path, spec: SandboxSpec
) -> None:
    driver = LxcDriver(
        program="no-such-lxc", lean=program("lean"), state=state, agent=program("agent")
    )
    with pytest.raises(RuntimeMissing, match="apt-get install lxc"):
        await driver.create(spec)
    health = await driver.probe()
    await driver.aclose()

    assert not health.works
    assert health.problems[0].remedy == "apt-get install lxc"


async def test_what_lxc_complains_about_is_quoted(lxc: LocalDriver, spec: SandboxSpec) -> None:
    nowhere = replace(spec.root.mounts[0], target="/nowhere")
    mounted = replace(spec.root, mounts=(*spec.root.mounts, nowhere))

    with pytest.raises(RuntimeFailed, match="lxc-start could not make a sandbox") as caught:
        await lxc.create(replace(spec, root=mounted))

    assert "Failed to mount" in caught.value.detail
    assert await lxc.list() == []


async def test_one_of_a_server_that_has_gone_is_ended_by_the_next(
    state: Path, spec: SandboxSpec, need: Callable[[str], None]
) -> None:
    need(LXC)
    first, second = local_driver(LXC, state), local_driver(LXC, state)
    sandbox = await first.create(spec)
    await first.aclose()

    assert await second.list() == [sandbox.id]
    async with asyncio.timeout(10):
        await (await second.connect(sandbox.id)).aclose()
        await second.destroy(sandbox.id)
    await second.aclose()

    assert monitors_of(sandbox.id) == []


def test_a_program_that_cannot_enter_its_groups_is_not_started(tmp_path: Path) -> None:
    group = tmp_path / "cgroup.procs"
    group.touch()
    lean = program("lean")

    entered = subprocess.run(
        [lean, "enter", group, group, "--", "/bin/echo", "in"], capture_output=True, check=False
    )
    refused = subprocess.run(
        [lean, "enter", group, tmp_path / "none", "--", "/bin/echo", "in"],
        capture_output=True, check=False,
    )  # fmt: skip

    assert (entered.returncode, entered.stdout, group.read_text()) == (0, b"in\n", "0")
    assert (refused.returncode, refused.stdout) == (127, b"")
    assert b"No such file" in refused.stderr


@pytest.mark.parametrize("content", [b"", b"1234567", bytes(8), bytes(40_000)])
def test_an_agent_without_a_filter_that_the_kernel_takes_does_not_start(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "filter").write_bytes(content)
    (tmp_path / "secret").write_bytes(bytes(32))

    ended = subprocess.run(
        [program("agent"), "--socket", "socket", "--secret-file", "secret", "--filter", "filter"],
        cwd=tmp_path, capture_output=True, check=False, timeout=10,
    )  # fmt: skip

    assert ended.returncode == 1
    assert b"filter" in ended.stderr
    assert not (tmp_path / "socket").exists()
