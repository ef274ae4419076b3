"""The driver with a real Nomad; `assay driver check nomad` runs all of the suites."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cluster import Cluster
from orchestrated_life import CASES

from assay.agent.native import program
from assay.domain.errors import CapacityExceeded, DriverUnavailable, SandboxGone
from assay.driver.port import RootFilesystem, SandboxSpec
from assay.drivers.nomad import NomadDriver, Options
from assay.testing import Case, Verdict, check_case

pytestmark = [pytest.mark.root, pytest.mark.slow]


def jobs(cluster: Cluster) -> list[str]:
    found = cluster.ask("/jobs")
    assert isinstance(found, list)
    return [each["ID"] for each in found if not each["Stop"]]


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_nomad_withstands_a_sample(
    driver: NomadDriver, root: RootFilesystem, case: Case
) -> None:
    result = await check_case(driver, case, root=root)
    assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"


async def test_what_is_wanted_together_is_one_job(
    cluster: Cluster, driver: NomadDriver, spec: SandboxSpec
) -> None:
    made = await asyncio.gather(*(driver.create(spec) for _ in range(4)))
    assert len(jobs(cluster)) == 1
    assert sorted(await driver.list()) == sorted(each.id for each in made)
    await driver.destroy(made[0].id)
    assert len(await driver.list()) == 3
    assert (
        await driver.examine(made[0].id) is None or not (await driver.examine(made[0].id)).running
    )
    await asyncio.gather(*(driver.destroy(each.id) for each in made[1:]))
    assert jobs(cluster) == []


async def test_a_container_that_was_killed_is_known_to_be_gone(
    cluster: Cluster, driver: NomadDriver, spec: SandboxSpec
) -> None:
    made = await driver.create(spec)
    container = f"sandbox-{made.facts['allocation']}"
    docker = ["docker", "-H", cluster.engine.endpoint, "kill", container]
    await asyncio.to_thread(subprocess.run, docker, check=True, capture_output=True, timeout=30)
    for _ in range(100):
        found = await driver.examine(made.id)
        if found is None or not found.running:
            break
        await asyncio.sleep(0.1)
    assert found is None or not found.running
    with pytest.raises(SandboxGone):
        await driver.connect(made.id)
    await driver.destroy(made.id)
    assert jobs(cluster) == []


async def test_sandboxes_outlive_nomads_agent(
    cluster: Cluster, driver: NomadDriver, spec: SandboxSpec
) -> None:
    made = await driver.create(spec)
    cluster.kill_agent()
    with pytest.raises(DriverUnavailable, match="no Nomad listens"):
        await driver.list()
    cluster.start_agent()
    cluster.wait_until_ready()
    assert await driver.list() == [made.id]
    stream = await driver.connect(made.id)
    await stream.aclose()
    await driver.destroy(made.id)


async def test_no_room_is_told_at_once(cluster: Cluster, state: Path, spec: SandboxSpec) -> None:
    options = Options(address=cluster.address, registry=cluster.registry)
    nowhere = replace(options, constraints={"${attr.kernel.name}": "plan9"})
    driver = NomadDriver(options=nowhere, state=state, agent=program("agent"))
    try:
        with pytest.raises(CapacityExceeded, match="no client of Nomad has room"):
            async with asyncio.timeout(5):
                await driver.create(spec)
        assert await driver.list() == []
    finally:
        await driver.aclose()
    assert jobs(cluster) == []


async def test_where_sandboxes_may_be_is_as_it_was_said(
    cluster: Cluster, state: Path, spec: SandboxSpec
) -> None:
    usual = Options(address=cluster.address, registry=cluster.registry)
    fitting = replace(
        usual, node_pool="default", datacenters=("dc1",), priority=60,
        constraints={"${attr.kernel.name}": "linux"}, spread={"${node.datacenter}": 100},
    )  # fmt: skip
    made = NomadDriver(options=fitting, state=state, agent=program("agent"))
    try:
        sandbox = await made.create(spec)
        (name,) = jobs(cluster)
        job = cluster.ask(f"/job/{name}")
        assert isinstance(job, dict)
        assert (job["NodePool"], job["Priority"]) == ("default", 60)
        assert job["Spreads"][0]["Attribute"] == "${node.datacenter}"
        await made.destroy(sandbox.id)
    finally:
        await made.aclose()
    for nowhere in (
        replace(usual, constraints={"${attr.kernel.name}": "plan9"}),
        replace(usual, datacenters=("elsewhere",)),
    ):
        driver = NomadDriver(options=nowhere, state=state, agent=program("agent"))
        try:
            with pytest.raises(CapacityExceeded):
                await driver.create(spec)
            assert await driver.list() == []
        finally:
            await driver.aclose()
