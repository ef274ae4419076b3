"""The published suites against the local drivers: all of both on lean, one case of each group on
the others, whose agent is the same. The fake has its own, among the unit tests."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from assay.agent.native import program
from assay.domain.errors import RuntimeMissing
from assay.drivers.lean import LeanDriver
from assay.drivers.linux.cgroups_v1 import GroupsV1
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.layout import read_layout
from assay.drivers.lxc import LxcDriver
from assay.drivers.microvm import MicroVmDriver, Qemu
from assay.drivers.microvm.guest_kernel import find_kernel
from assay.drivers.oci import CRUN, RUNC, RUNSC, OciDriver, Runtime
from assay.testing import CONFORMANCE, HOSTILE, Case, Runner, Verdict, bare_root, open_runner

LXC = Runtime(name="lxc", program="lxc-start", package="lxc")
"""Is none, but has a name, a program and a package."""


def one_of_each_group(cases: Iterable[Case]) -> list[Case]:
    first: dict[str, Case] = {}
    for case in cases:
        first.setdefault(case.name.split("/")[0], case)
    return list(first.values())


def of_files(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if case.name.startswith("files/")]


def ended_by_freezing(cases: Iterable[Case]) -> list[Case]:
    wanted = ("bomb-fork", "cancelled-bomb", "ghost-deep", "ghost-stopped", "zombies")
    return [case for case in cases if case.name in {f"processes/{name}" for name in wanted}]


async def expect_passed(runner: Runner, case: Case) -> None:
    result = await runner.run(case)
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.reason)
    assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"


def local_driver(runtime: Runtime | None, state: Path) -> LocalDriver:
    if runtime is LXC:
        return LxcDriver(lean=program("lean"), state=state, agent=program("agent"))
    if runtime is None:
        return LeanDriver(program=program("lean"), state=state, agent=program("agent"))
    return OciDriver(runtime=runtime, state=state, agent=program("agent"))


together = pytest.mark.asyncio(loop_scope="module")
"""In the event loop of the fixture that they have in common."""


@contextlib.asynccontextmanager
async def opened(
    runtime: Runtime | None, folder: Path, *, owners: bool = False
) -> AsyncIterator[Runner]:
    """All cases on one driver and one workbench, as in `assay driver check`."""
    if os.geteuid() != 0 or (runtime is not None and shutil.which(runtime.program) is None):
        missing = f"{runtime.name if runtime else 'nothing'} and root are needed"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    root = replace(bare_root(folder / "root"), owners=owners)
    driver = local_driver(runtime, folder / "state")
    async with open_runner(driver, root=root) as runner:
        yield runner
    assert await driver.list() == []
    await driver.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def local(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Runner]:
    async with opened(request.param, tmp_path_factory.mktemp("local")) as runner:
        yield runner


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def with_owners(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runner]:
    async with opened(None, tmp_path_factory.mktemp("owners"), owners=True) as runner:
        yield runner


@together
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", [*CONFORMANCE, *HOSTILE], ids=str)
@pytest.mark.parametrize("local", [None], ids=["lean"], indirect=True)
async def test_lean_withstands(local: Runner, case: Case) -> None:
    await expect_passed(local, case)


@together
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", one_of_each_group([*CONFORMANCE, *HOSTILE]), ids=str)
@pytest.mark.parametrize("local", [CRUN, RUNC, RUNSC], ids=lambda each: each.name, indirect=True)
async def test_runtimes_withstand_a_sample(local: Runner, case: Case) -> None:
    await expect_passed(local, case)


@together
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", one_of_each_group(HOSTILE), ids=str)
@pytest.mark.parametrize("local", [LXC], ids=["lxc"], indirect=True)
async def test_lxc_withstands_a_sample(local: Runner, case: Case) -> None:
    await expect_passed(local, case)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machines(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runner]:
    """By QEMU, which translates where there is no KVM: slowly."""
    if lacking := machines_lack():
        pytest.fail(lacking) if os.environ.get("CI") else pytest.skip(lacking)
    folder = tmp_path_factory.mktemp("machines")
    driver = MicroVmDriver(
        monitor=Qemu(),
        state=folder / "state",
        disks=folder / "disks",
        agent=program("agent"),
        guest=program("guest"),
    )
    async with open_runner(driver, root=bare_root(folder / "root")) as runner:
        yield runner
    assert await driver.list() == []
    await driver.aclose()


def machines_lack() -> str:
    if os.geteuid() != 0 or shutil.which("mkfs.erofs", path="/usr/sbin:/usr/bin") is None:
        return "erofs-utils and root are needed"
    try:
        Qemu().find()
        find_kernel("")
    except RuntimeMissing as error:
        return error.message
    return ""


def of_machines(cases: Iterable[Case]) -> list[Case]:
    """A few quick ones, of what is another's there: kernel, groups, streams."""
    wanted = (
        "starting/privileged-is-root", "reattachment/highest-epoch-wins", "kernel/forbidden-calls",
    )  # fmt: skip
    return [case for case in cases if case.name in wanted]


@together
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", of_machines([*CONFORMANCE, *HOSTILE]), ids=str)
async def test_machines_withstand_a_sample(machines: Runner, case: Case) -> None:
    await expect_passed(machines, case)


@together
@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", of_files([*CONFORMANCE, *HOSTILE]), ids=str)
async def test_lean_withstands_what_is_about_files_where_files_have_owners(
    with_owners: Runner, case: Case
) -> None:
    await expect_passed(with_owners, case)


@pytest.fixture
def only_version_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a host without a tree of version 2, whose kernel kills no group as a whole."""
    if read_layout().name == "v2":
        pytest.skip("the control groups of this machine are of version 2 alone")
    monkeypatch.setattr(GroupsV1, "kills_at_once", False)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.usefixtures("only_version_1")
@pytest.mark.parametrize("case", ended_by_freezing(HOSTILE), ids=str)
async def test_lean_ends_programs_by_freezing_them_where_groups_are_of_version_1_alone(
    case: Case, tmp_path: Path
) -> None:
    async with opened(None, tmp_path) as runner:
        await expect_passed(runner, case)
