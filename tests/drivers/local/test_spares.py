"""Memory groups of sandboxes that are gone serve the next ones, as good as new."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.limits import MIB, SandboxLimits
from assay.domain.outcome import OutcomeKind
from assay.driver.port import SandboxSpec
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.spares import Spares

pytestmark = pytest.mark.root

GROUPS = Path("/sys/fs/cgroup/memory/assay")
HOARD = "x = [bytearray(1 << 20) for _ in range(10_000)]"

needs_version_1 = pytest.mark.skipif(
    not Path("/sys/fs/cgroup/memory").is_dir(), reason="this machine has no groups of version 1"
)


def spares() -> dict[int, str]:
    """By the number that the kernel gives a group, and keeps whatever its name."""
    return {path.stat().st_ino: path.name for path in GROUPS.glob("spare-*")}


def python(text: str) -> Command:
    return Command(argv=("/usr/bin/python3", "-c", text), environment={"PATH": "/usr/bin:/bin"})


@needs_version_1
async def test_the_next_sandbox_gets_the_group_of_one_that_is_gone(
    driver: LocalDriver, spec: SandboxSpec
) -> None:
    for each in GROUPS.glob("spare-*"):  # others would come first, of whoever left groups behind
        for folder, _, _ in os.walk(each, topdown=False):
            Path(folder).rmdir()
    first = await driver.create(spec)
    number = (GROUPS / first.id).stat().st_ino
    await driver.destroy(first.id)
    assert number in spares()
    assert (GROUPS / spares()[number] / "learners").stat().st_uid == 0
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
    before = spares().keys()
    async with open_session(driver, spec) as session:
        assert (await session.run(python(HOARD))).outcome.kind is OutcomeKind.OUT_OF_MEMORY
    assert spares().keys() <= before
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
    Spares({"memory": str(GROUPS)}).remove_all()
    assert number in spares()
    await driver.destroy(alive.id)
    Spares({"memory": str(GROUPS)}).remove_all()
    assert not spares() or any(
        path.is_dir() and not path.name.startswith("spare-") for path in GROUPS.iterdir()
    )
