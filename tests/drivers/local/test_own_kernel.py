"""Runtimes that bring a kernel of their own (gVisor): what differs, with the real one."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from assay.agent.client import Agent
from assay.agent.session import TOO_MANY_PROCESSES, Session, open_session
from assay.domain.command import Command
from assay.domain.errors import SandboxGone
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import Sandbox, SandboxSpec
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.process import title

pytestmark = pytest.mark.root

FORKS = """
import os, time
count = 0
try:
    while True:
        if os.fork() == 0:
            time.sleep(20)
            os._exit(0)
        count += 1
except BlockingIOError:
    print(count, flush=True)
"""
LIMITS = ExecutionLimits(wall_seconds=20.0, cpu_seconds=None)


def bash(script: str, *, privileged: bool = False) -> Command:
    return Command(
        argv=("/bin/bash", "-c", script),
        environment={"PATH": "/usr/bin:/bin"},
        limits=LIMITS,
        privileged=privileged,
    )


def processes(sandbox: Sandbox) -> dict[str, int]:
    """By their titles: the kernel ("runsc-sandbox"), its file server, and those without any."""
    pids = (group_of(sandbox) / "cgroup.procs").read_text().split()
    return {title(int(pid)): int(pid) for pid in pids}


def group_of(sandbox: Sandbox) -> Path:
    """Where the host counts its processes."""
    group = sandbox.facts["group"]
    folders = [Path(f"/sys/fs/cgroup/pids{group}"), Path(f"/sys/fs/cgroup{group}")]
    return next(folder for folder in folders if folder.is_dir())


async def test_a_sandbox_lives_on_its_own_kernel_and_is_gone_after_destroy(
    runsc: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(runsc, spec) as session:
        told = await session.run(bash("cat /proc/version; id -u"))
        assert told.outcome.success, told
        version, user = told.stdout.decode().splitlines()
        assert os.uname().release not in version
        assert user == "10001"
        assert await runsc.list() == [session.sandbox.id]
        state = await runsc.examine(session.sandbox.id)
        assert state is not None
        assert (state.running, state.oom_kills) == (True, 0)

    assert await runsc.list() == []
    assert await runsc.examine(session.sandbox.id) is None
    with pytest.raises(SandboxGone):
        await runsc.connect(session.sandbox.id)


async def test_not_even_root_can_take_the_agents_place_at_the_socket(
    runsc: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(runsc, spec) as session:
        for attempt in (
            "rm /.assay/control/socket",
            "mv /.assay/control/socket /.assay/control/other",
            "touch /.assay/control/new",
            "mount -t tmpfs none /.assay/control",
            "mv /.assay/control /.assay/elsewhere",
        ):
            tried = await session.run(bash(attempt, privileged=True))
            assert tried.outcome.kind is OutcomeKind.EXITED
            assert not tried.outcome.success, attempt
        stream = await runsc.connect(session.sandbox.id)
        await (await Agent.connect(stream, spec.secret, epoch=2)).aclose()


async def test_the_hosts_own_sockets_cannot_be_reached(
    runsc: LocalDriver, spec: SandboxSpec
) -> None:
    place = spec.root.path / "host-socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place))
        listener.listen()
        place.chmod(0o777)
        async with open_session(runsc, spec) as session:
            script = "import socket; socket.socket(socket.AF_UNIX).connect('/host-socket')"
            tried = await session.run(bash(f'exec python3 -c "{script}"'))
    assert tried.outcome.code == 1
    assert b"ConnectionRefusedError" in tried.stderr or b"PermissionError" in tried.stderr


@pytest.mark.parametrize("victim", ["runsc-sandbox", "runsc-gofer"])
async def test_a_kernel_or_file_server_that_was_killed_takes_the_sandbox_along(
    runsc: LocalDriver, spec: SandboxSpec, victim: str
) -> None:
    async with open_session(runsc, spec) as session:
        command = bash("echo ready; sleep 20")
        execution = await session.start(command)
        async for chunk in execution.output():
            assert chunk.data == b"ready\n"
            break
        os.kill(processes(session.sandbox)[victim], signal.SIGKILL)
        facts, outcome = await session.conclude(execution, command)
        assert outcome.kind is OutcomeKind.LOST
        assert facts.lost == "the agent died"
        state = await runsc.examine(session.sandbox.id)
        assert state is not None
        assert not state.running


async def test_too_much_memory_is_told_by_the_hosts_counters(
    runsc: LocalDriver, spec: SandboxSpec
) -> None:
    limits = SandboxLimits(memory_bytes=64 * MIB)
    async with open_session(runsc, small(spec, limits)) as session:
        eaten = await session.run(bash("exec python3 -c 'print(len(b\"x\" * 2**30))'"))
        assert eaten.outcome.kind is OutcomeKind.OUT_OF_MEMORY
        assert eaten.facts.oom_kills is not None
        assert eaten.facts.oom_kills.value > 0


async def test_a_kernel_that_the_host_refuses_a_process_is_lost_for_that_reason(
    runsc: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(runsc, spec) as session:
        assert (await session.run(bash("exit 0"))).outcome.success
        group = group_of(session.sandbox)
        (group / "pids.max").write_text((group / "pids.current").read_text())
        bombed = await session.run(bash("for i in {1..60}; do sleep 20 & done; wait"))
        assert bombed.outcome.kind is OutcomeKind.LOST
        assert bombed.outcome.reason == TOO_MANY_PROCESSES
        state = await runsc.examine(session.sandbox.id)
        assert state is not None
        assert (state.running, state.oom_kills) == (False, 0)
        assert state.processes_refused


async def test_a_learners_processes_are_limited_to_the_number(
    runsc: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(runsc, small(spec, SandboxLimits(processes=20))) as session:
        # Who forks is one more: it was made before it was the learner's.
        assert await forked(session) == 20


async def forked(session: Session) -> int:
    told = await session.run(bash(f"exec python3 -c '{FORKS}'"))
    return int(told.stdout)


def small(spec: SandboxSpec, limits: SandboxLimits) -> SandboxSpec:
    return SandboxSpec(root=spec.root, secret=spec.secret, limits=limits)
