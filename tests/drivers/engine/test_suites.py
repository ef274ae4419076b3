"""A sample of the published suites on real engines; `assay driver check docker` runs all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from engine_daemon import Daemon

from assay.agent.native import program
from assay.driver.port import Driver
from assay.drivers.engine import DOCKER, PODMAN, EngineDriver, Product
from assay.testing import CONFORMANCE, HOSTILE, Case, Verdict, bare_root, check_case

pytestmark = [pytest.mark.root, pytest.mark.slow]

WANTED = (
    "sandboxes/create-list-examine-destroy", "memory/eating-memory", "files/filling-the-disk",
    "leakage/looking-around-as-root", "leakage/impersonating-the-agent", "processes/bomb-fork",
)  # fmt: skip


def sample(cases: Iterable[Case]) -> list[Case]:
    return [case for case in cases if case.name in WANTED]


SAMPLE = sample([*CONFORMANCE, *HOSTILE])
OF_PODMAN = [case for case in SAMPLE if case.name in WANTED[:2] or "as-root" in case.name]
"""Where it differs: groups of its own, and what it doesn't mask."""


async def expect_passed(
    product: Product, daemon: Daemon, state: Path, case: Case, folder: Path, runtime: str = ""
) -> None:
    driver = EngineDriver(
        product=product, runtime=runtime, endpoint=daemon.endpoint, state=state,
        agent=program("agent"), lean=program("lean"),
    )  # fmt: skip
    try:
        await expect_passed_by(driver, case, folder)
    finally:
        await driver.aclose()


async def expect_passed_by(driver: Driver, case: Case, folder: Path) -> None:
    result = await check_case(driver, case, root=bare_root(folder))
    assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"
    assert await driver.list() == []


@pytest.mark.parametrize("case", SAMPLE, ids=str)
async def test_docker_withstands_a_sample(
    docker: Daemon, case: Case, state: Path, tmp_path: Path
) -> None:
    await expect_passed(DOCKER, docker, state, case, tmp_path)


@pytest.mark.parametrize("case", SAMPLE[:1], ids=str)
async def test_docker_with_crun_withstands_one(
    docker: Daemon, case: Case, state: Path, tmp_path: Path
) -> None:
    await expect_passed(DOCKER, docker, state, case, tmp_path, "crun")


@pytest.mark.parametrize("case", OF_PODMAN, ids=str)
async def test_podman_withstands_a_smaller_one(
    podman: Daemon, case: Case, state: Path, tmp_path: Path
) -> None:
    await expect_passed(PODMAN, podman, state, case, tmp_path)
