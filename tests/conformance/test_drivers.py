"""The published suites against the local drivers: all of both on lean, one case of each group on
the others, whose agent is the same. The fake has its own, among the unit tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from assay.agent.native import program
from assay.driver.port import Driver
from assay.drivers.lean import LeanDriver
from assay.drivers.linux.cgroups_v1 import GroupsV1
from assay.drivers.linux.driver import LocalDriver
from assay.drivers.linux.layout import read_layout
from assay.drivers.lxc import LxcDriver
from assay.drivers.oci import CRUN, RUNC, RUNSC, OciDriver, Runtime
from assay.testing import CONFORMANCE, HOSTILE, Case, Verdict, bare_root, check_case

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


async def expect_passed(driver: Driver, case: Case, folder: Path, *, owners: bool = False) -> None:
    root = replace(bare_root(folder), owners=owners)
    result = await check_case(driver, case, root=root)
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.reason)
    assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"


def local_driver(runtime: Runtime | None, state: Path) -> LocalDriver:
    if runtime is LXC:
        return LxcDriver(lean=program("lean"), state=state, agent=program("agent"))
    if runtime is None:
        return LeanDriver(program=program("lean"), state=state, agent=program("agent"))
    return OciDriver(runtime=runtime, state=state, agent=program("agent"))


@pytest.fixture
async def local(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    runtime: Runtime | None = request.param
    if os.geteuid() != 0 or (runtime is not None and shutil.which(runtime.program) is None):
        missing = f"{runtime.name if runtime else 'nothing'} and root are needed"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    driver = local_driver(runtime, tmp_path / "state")
    yield driver
    assert await driver.list() == []
    await driver.aclose()


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", [*CONFORMANCE, *HOSTILE], ids=str)
@pytest.mark.parametrize("local", [None], ids=["lean"], indirect=True)
async def test_lean_withstands(local: Driver, case: Case, tmp_path: Path) -> None:
    await expect_passed(local, case, tmp_path)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", one_of_each_group([*CONFORMANCE, *HOSTILE]), ids=str)
@pytest.mark.parametrize("local", [CRUN, RUNC, RUNSC], ids=lambda each: each.name, indirect=True)
async def test_runtimes_withstand_a_sample(local: Driver, case: Case, tmp_path: Path) -> None:
    await expect_passed(local, case, tmp_path)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", one_of_each_group(HOSTILE), ids=str)
@pytest.mark.parametrize("local", [LXC], ids=["lxc"], indirect=True)
async def test_lxc_withstands_a_sample(local: Driver, case: Case, tmp_path: Path) -> None:
    await expect_passed(local, case, tmp_path)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", of_files([*CONFORMANCE, *HOSTILE]), ids=str)
@pytest.mark.parametrize("local", [None], ids=["lean"], indirect=True)
async def test_lean_withstands_what_is_about_files_where_files_have_owners(
    local: Driver, case: Case, tmp_path: Path
) -> None:
    await expect_passed(local, case, tmp_path, owners=True)


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
@pytest.mark.parametrize("local", [None], ids=["lean"], indirect=True)
async def test_lean_ends_programs_by_freezing_them_where_groups_are_of_version_1_alone(
    local: Driver, case: Case, tmp_path: Path
) -> None:
    await expect_passed(local, case, tmp_path)
