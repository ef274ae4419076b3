"""What only control groups of version 2 have: on a host that has no other, or by `./dev uml`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from assay.agent.session import Session, open_session
from assay.domain.command import Command
from assay.domain.facts import Source
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import SandboxSpec
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.layout import read_layout
from assay.testing.workbench import Workbench

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(read_layout().name != "v2", reason="control groups are not of version 2"),
]
LIMITS = SandboxLimits(memory_bytes=64 * MIB, processes=20, cpus=0.5, disk_bytes=8 * MIB)
ROUNDS = 4


@pytest.fixture
async def session(driver: LocalDriver, spec: SandboxSpec) -> AsyncIterator[Session]:
    bench = Workbench(driver, spec.root)
    async with open_session(driver, replace(spec, limits=LIMITS)) as opened:
        await bench.install(opened)
        yield opened


def group_of(session: Session) -> Path:
    """The sandbox's, which holds the agent's and the learners'."""
    return Path("/sys/fs/cgroup" + session.sandbox.facts["group"]).parent


async def peak(session: Session, megabytes: int) -> tuple[int, Source]:
    done = await session.run(Command(argv=("/workspace/probe", "alloc", str(megabytes), "0.02")))
    assert done.outcome.success, done.stderr
    measured = done.facts.peak_memory_bytes
    assert measured is not None
    return measured.value, measured.source


async def test_the_limits_are_the_learners_and_the_agent_has_its_own(session: Session) -> None:
    group = group_of(session)
    read = {
        f"{half}/{name}": (group / half / name).read_text().strip()
        for half in ("agent", "learners")
        for name in ("memory.max", "memory.swap.max", "pids.max", "cpu.max")
        if (group / half / name).exists()
    }

    assert read["learners/memory.max"] == str(64 * MIB)
    assert read["learners/pids.max"] == "23"
    assert read["learners/cpu.max"] == "50000 100000"
    assert read.get("learners/memory.swap.max", "0") == "0"
    assert read["agent/memory.max"] == str(128 * MIB)
    assert read["agent/pids.max"] == "256"
    assert (group / "cgroup.procs").read_text() == ""
    assert (group / "agent/cgroup.procs").read_text().split() == [session.sandbox.facts["process"]]
    assert (group / "cgroup.subtree_control").read_text().split() == ["cpu", "memory", "pids"]


async def test_a_peak_is_the_executions_own_although_none_can_be_set_back(session: Session) -> None:
    """Linux before 6.12 can't; the agent renews the groups of a slot instead."""
    sources = []
    for _ in range(ROUNDS):
        large, _ = await peak(session, 12)
        small, source = await peak(session, 3)
        assert 12 * MIB <= large < 16 * MIB
        assert 3 * MIB <= small < 6 * MIB
        sources.append(source)

    assert sources.count(Source.HOST) >= ROUNDS // 2
    groups = [path for path in (group_of(session) / "learners").iterdir() if path.is_dir()]
    assert len(groups) <= 5


async def test_files_that_stay_leave_few_groups_behind(session: Session) -> None:
    """A group that is removed lives on in the kernel for as long as a file is charged to it."""
    for number in range(80):
        argv = ("/workspace/probe", "write", f"/tmp/{number}", "x" * 100)
        assert (await session.run(Command(argv=argv))).outcome.success
        await peak(session, 1)

    text = (group_of(session) / "learners/cgroup.stat").read_text()
    dying = dict(line.split() for line in text.splitlines())["nr_dying_descendants"]
    assert int(dying) <= 64 + 5


async def test_one_victim_of_memory_is_enough(session: Session) -> None:
    """memory.oom.group is off: a program may survive its child, as on version 1, and the keepers
    that make the next program are no victims.
    """
    ample = ExecutionLimits(wall_seconds=200.0, cpu_seconds=None)
    done = await session.run(Command(argv=("/workspace/probe", "eat", "0"), limits=ample))
    assert done.outcome.kind is OutcomeKind.OUT_OF_MEMORY

    learners = group_of(session) / "learners"
    assert {path.read_text() for path in learners.glob("*/memory.oom.group")} == {"0\n"}
    assert (await session.run(Command(argv=("/workspace/probe", "exit", "3")))).outcome.code == 3
