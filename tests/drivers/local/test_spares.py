"""Memory groups of sandboxes that are gone serve the next ones, as good as new."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
from pathlib import Path

import pytest

from assay.agent.session import Session, open_session
from assay.domain.command import Command
from assay.domain.limits import MIB, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import SandboxSpec
from assay.drivers.lean import LeanDriver
from assay.drivers.linux.cgroups import AGENTS_OWN, PERIOD_US
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.spares import Spares

pytestmark = pytest.mark.root

GROUPS = Path("/sys/fs/cgroup/memory/assay")
TREES = {name: f"/sys/fs/cgroup/{name}/assay" for name in ("memory", "pids", "cpu", "cpuacct")}
HOARD = "x = [bytearray(1 << 20) for _ in range(10_000)]"

needs_version_1 = pytest.mark.skipif(
    not Path("/sys/fs/cgroup/memory").is_dir(), reason="this machine has no groups of version 1"
)


def spares() -> dict[int, str]:
    """By the number that the kernel gives a group, and keeps whatever its name."""
    found = {}
    for path in GROUPS.glob("spare-*"):
        with contextlib.suppress(FileNotFoundError):  # another server took it at this moment
            found[path.stat().st_ino] = path.name
    return found


def remove_all_spares() -> None:
    for tree in TREES.values():
        for each in Path(tree).glob("spare-*"):
            for folder, _, _ in os.walk(each, topdown=False):
                Path(folder).rmdir()


def python(text: str) -> Command:
    return Command(argv=("/usr/bin/python3", "-c", text), environment={"PATH": "/usr/bin:/bin"})


@needs_version_1
async def test_the_next_sandbox_gets_the_group_of_one_that_is_gone(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    remove_all_spares()  # others would come first, of whoever left groups behind
    first = await driver.create(spec)
    number = (GROUPS / first.id).stat().st_ino
    await driver.destroy(first.id)
    assert number in spares()
    left = (GROUPS / spares()[number] / "learners").stat()
    assert f"{left.st_uid}" in ("0", first.facts["first_user"])
    assert left.st_mode & 0o777 == 0o700
    roomy = dataclasses.replace(spec, limits=SandboxLimits(memory_bytes=512 * MIB))
    async with open_session(driver, roomy) as session:
        numbers = {path.stat().st_ino for path in (GROUPS).iterdir() if path.is_dir()}
        assert number in numbers
        assert number not in spares()
        completed = await session.run(python("print(sum(x) if (x := [1, 2]) else 0)"))
        assert completed.stdout == b"3\n"
        assert completed.facts.peak_memory_bytes is not None
        assert (await session.run(python(HOARD))).outcome.kind is OutcomeKind.OUT_OF_MEMORY


@needs_version_1
async def test_a_group_that_was_out_of_memory_serves_nobody_again(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(driver, spec) as session:
        number = (GROUPS / session.sandbox.id).stat().st_ino
        assert (await session.run(python(HOARD))).outcome.kind is OutcomeKind.OUT_OF_MEMORY
    assert number not in spares()
    async with open_session(driver, spec) as session:
        ended = await session.run(python("raise SystemExit(1)"))
        assert ended.outcome.kind is OutcomeKind.EXITED


@needs_version_1
async def test_spare_groups_stay_while_anybody_has_sandboxes(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    gone, alive = await driver.create(spec), await driver.create(spec)
    number = (GROUPS / gone.id).stat().st_ino
    await driver.destroy(gone.id)
    Spares(TREES).remove_all()
    assert number in spares()
    await driver.destroy(alive.id)
    Spares(TREES).remove_all()
    assert not spares() or any(
        path.is_dir() and not path.name.startswith("spare-") for path in GROUPS.iterdir()
    )


@needs_version_1
async def test_a_group_with_a_process_left_in_it_is_not_used_again(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    sandbox = await driver.create(spec)
    number = (GROUPS / sandbox.id).stat().st_ino
    stray = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        group = Path("/sys/fs/cgroup/pids/assay", sandbox.id, "agent/cgroup.procs")
        group.write_text(str(stray.pid))
        await driver.destroy(sandbox.id)

        assert number not in spares()
        assert await stray.wait() == -signal.SIGKILL
    finally:
        with contextlib.suppress(ProcessLookupError):
            stray.kill()


@needs_version_1
async def test_limits_are_those_that_were_asked_for_whatever_the_groups_had_before(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    for megabytes, processes, cpus in (
        (64, 20, 0.5),
        (256, 64, 1.0),
        (64, 20, 0.5),
        (128, 20, 1.0),
    ):
        limits = SandboxLimits(memory_bytes=megabytes * MIB, processes=processes, cpus=cpus)
        sandbox = await driver.create(dataclasses.replace(spec, limits=limits))

        def limit(tree: str, file: str, name: str = sandbox.id) -> int:
            return int(Path("/sys/fs/cgroup", tree, "assay", name, "learners", file).read_text())

        assert limit("memory", "memory.limit_in_bytes") == limits.memory_bytes
        assert limit("pids", "pids.max") == processes + AGENTS_OWN
        assert limit("cpu", "cpu.cfs_quota_us") == cpus * PERIOD_US
        await driver.destroy(sandbox.id)


# --- those that `lean` is sent for on errands -----------------------------------------------------


def group_of(session: Session, hierarchy: str) -> Path:
    return Path(TREES[hierarchy]) / session.sandbox.id


@needs_version_1
async def test_groups_go_from_one_sandbox_to_the_next_by_errands_alone(
    lean: LocalDriver, spec: SandboxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove_all_spares()  # those of other drivers may still count who has ended
    async with open_session(lean, spec) as session:
        number = group_of(session, "memory").stat().st_ino
    assert isinstance(lean, LeanDriver)
    for name in ("make", "remove"):
        refuse = lambda *_: pytest.fail("it was not done by an errand")  # noqa: E731
        monkeypatch.setattr(lean._lean.groups, name, refuse)
    users = []
    for _ in range(3):
        (GROUPS / spares()[number] / "memory.force_empty").write_text("0")
        async with open_session(lean, spec) as session:
            completed = await session.run(python("print('here')"))
            assert completed.stdout == b"here\n"
            assert group_of(session, "memory").stat().st_ino == number
            users.append(session.sandbox.facts["first_user"])
            for hierarchy in TREES:
                (group_of(session, hierarchy) / "learners").chmod(0o777)  # as its agent may
    assert len({*users}) == 1
    for tree in TREES.values():
        left = (Path(tree) / spares()[number] / "learners").stat()
        assert (f"{left.st_uid}", left.st_mode & 0o777) == (users[0], 0o700)


@needs_version_1
async def test_groups_whose_users_are_another_sandboxes_by_now_are_given_away(
    lean: LocalDriver, spec: SandboxSpec, state: Path
) -> None:
    async with open_session(lean, spec) as session:
        number = group_of(session, "memory").stat().st_ino
        first, link = session.sandbox.facts["first_user"], only(state / "users")
    link.symlink_to("a-sandbox-of-another-server")
    async with open_session(lean, spec) as session:
        completed = await session.run(python("print('here')"))
        assert completed.stdout == b"here\n"
        assert session.sandbox.facts["first_user"] != first
    assert f"{link.readlink()}" == "a-sandbox-of-another-server"
    link.unlink()
    assert number in spares()


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


@needs_version_1
async def test_groups_that_were_broken_up_meanwhile_are_no_sandboxes(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        number = group_of(session, "memory").stat().st_ino
    for folder, _, _ in os.walk(Path(TREES["pids"]) / spares()[number], topdown=False):
        Path(folder).rmdir()
    async with open_session(lean, spec) as session:
        assert (await session.run(python("print('here')"))).stdout == b"here\n"
        for hierarchy in TREES:
            assert (group_of(session, hierarchy) / "learners/cgroup.procs").exists()


@needs_version_1
async def test_a_group_with_a_containers_in_it_serves_nobody_again(
    crun: LocalDriver, spec: SandboxSpec
) -> None:
    sandbox = await crun.create(spec)
    number = (GROUPS / sandbox.id).stat().st_ino
    (GROUPS / sandbox.id / "container").mkdir()
    await crun.destroy(sandbox.id)
    assert number not in spares()
    assert not (GROUPS / sandbox.id).exists()


@needs_version_1
async def test_a_share_of_the_processors_that_was_changed_is_no_later_sandboxes(
    lean: LocalDriver, spec: SandboxSpec
) -> None:
    async with open_session(lean, spec) as session:
        file = group_of(session, "cpu") / "learners/cpu.cfs_quota_us"
        usual = file.read_text()
        file.write_text("7000")  # as its agent may
    async with open_session(lean, spec) as session:
        assert (group_of(session, "cpu") / "learners/cpu.cfs_quota_us").read_text() == usual
