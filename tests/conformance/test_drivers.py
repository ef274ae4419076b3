"""The published suites against the local drivers: all of both on crun, one case of each group on
the others, which differ in their program. The fake has its own, among the unit tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from assay.agent.native import program
from assay.driver.port import Driver
from assay.drivers.oci import CRUN, RUNC, RUNSC, OciDriver, Runtime
from assay.testing import CONFORMANCE, HOSTILE, Case, Verdict, bare_root, check_case


def one_of_each_group(cases: Iterable[Case]) -> list[Case]:
    first: dict[str, Case] = {}
    for case in cases:
        first.setdefault(case.name.split("/")[0], case)
    return list(first.values())


def of_files(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if case.name.startswith("files/")]


async def expect_passed(driver: Driver, case: Case, folder: Path, *, owners: bool = False) -> None:
    root = replace(bare_root(folder), owners=owners)
    result = await check_case(driver, case, root=root)
    if result.verdict is Verdict.SKIPPED:
        pytest.skip(result.reason)
    assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"


@pytest.fixture
async def local(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Driver]:
    runtime: Runtime = request.param
    if os.geteuid() != 0 or shutil.which(runtime.program) is None:
        missing = f"{runtime.name} and root are needed"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    driver = OciDriver(runtime=runtime, state=tmp_path / "state", agent=program("agent"))
    yield driver
    assert await driver.list() == []
    await driver.aclose()


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", [*CONFORMANCE, *HOSTILE], ids=str)
@pytest.mark.parametrize("local", [CRUN], ids=["crun"], indirect=True)
async def test_crun_withstands(local: Driver, case: Case, tmp_path: Path) -> None:
    await expect_passed(local, case, tmp_path)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", one_of_each_group([*CONFORMANCE, *HOSTILE]), ids=str)
@pytest.mark.parametrize("local", [RUNC], ids=["runc"], indirect=True)
async def test_runc_withstands_a_sample(local: Driver, case: Case, tmp_path: Path) -> None:
    await expect_passed(local, case, tmp_path)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", of_files([*CONFORMANCE, *HOSTILE]), ids=str)
@pytest.mark.parametrize("local", [CRUN], ids=["crun"], indirect=True)
async def test_crun_withstands_what_is_about_files_where_files_have_owners(
    local: Driver, case: Case, tmp_path: Path
) -> None:
    await expect_passed(local, case, tmp_path, owners=True)


@pytest.mark.root
@pytest.mark.slow
@pytest.mark.parametrize("case", one_of_each_group([*CONFORMANCE, *HOSTILE]), ids=str)
@pytest.mark.parametrize("local", [RUNSC], ids=["runsc"], indirect=True)
async def test_runsc_withstands_a_sample(local: Driver, case: Case, tmp_path: Path) -> None:
    await expect_passed(local, case, tmp_path)
