"""The driver with a real Nomad whose access control is on, and the policy that is published."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import Cluster, lacking, running
from orchestrated_fixtures import skip_where

from assay.agent.native import program
from assay.domain.errors import DriverUnavailable
from assay.driver.port import SandboxSpec
from assay.drivers.nomad import NomadDriver, Options

pytestmark = [pytest.mark.root, pytest.mark.slow]

POLICY = Path(__file__).parents[3] / "deploy/assay-nomad-policy.hcl"
NAMESPACE = "sandboxes"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    skip_where(lacking(), "Nomad")
    with running(acl=True) as cluster:
        nomad(cluster, "namespace", "apply", NAMESPACE)
        yield cluster


def nomad(cluster: Cluster, *command: str, token: str = "") -> str:
    variables = {
        **os.environ, "NOMAD_ADDR": cluster.address, "NOMAD_TOKEN": token or cluster.token,
    }  # fmt: skip
    done = subprocess.run(
        ["nomad", *command], env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise PermissionError(done.stderr)
    return done.stdout


MakeToken = Callable[[str], str]


@pytest.fixture
def make_token(guarded: Cluster, tmp_path: Path) -> MakeToken:
    """Makes tokens with the policy that is published, but for what is said."""

    def one(but_for: str) -> str:
        text = POLICY.read_text()
        text = re.sub(rf'^ *"{but_for}",.*\n', "", text, flags=re.MULTILINE)
        text = re.sub(rf"^{but_for} \{{\n.*\n\}}\n", "", text, flags=re.MULTILINE)
        assert (text != POLICY.read_text()) == bool(but_for)
        name, file = f"assay-{but_for}", tmp_path / "policy.hcl"
        file.write_text(text)
        nomad(guarded, "acl", "policy", "apply", name, str(file))
        said = nomad(guarded, "acl", "token", "create", "-policy", name, "-json")
        return str(json.loads(said)["SecretID"])

    return one


def driver_with(cluster: Cluster, token: str, state: Path) -> NomadDriver:
    options = Options(
        address=cluster.address, registry=cluster.registry, namespace=NAMESPACE, token=token
    )
    return NomadDriver(options=options, state=state, agent=program("agent"))


async def use_all(driver: NomadDriver, spec: SandboxSpec) -> None:
    """Two of a batch, of which one ends before the other."""
    health = await driver.probe()
    if not health.works:
        raise DriverUnavailable(health.problems[0].summary)
    made = await asyncio.gather(driver.create(spec), driver.create(spec))
    try:
        assert sorted(await driver.list()) == sorted(each.id for each in made)
        await driver.destroy(made[0].id)
    finally:
        await asyncio.gather(*(driver.destroy(each.id) for each in made))
    assert await driver.list() == []


async def test_the_published_policy_is_enough_and_no_more(
    guarded: Cluster, make_token: MakeToken, state: Path, spec: SandboxSpec
) -> None:
    token = make_token("")
    driver = driver_with(guarded, token, state)
    try:
        await use_all(driver, spec)
    finally:
        await driver.aclose()
    for command in (
        ("node", "drain", "-self", "-enable", "-yes"), ("acl", "token", "list"), ("system", "gc"),
        ("namespace", "apply", "other"), ("job", "status", "-namespace", "default"),
        ("operator", "scheduler", "set-config", "-memory-oversubscription=false"),
    ):  # fmt: skip
        with pytest.raises(PermissionError, match="403"):
            nomad(guarded, *command, token=token)


@pytest.mark.parametrize(
    "lacked",
    ["submit-job", "read-job", "list-jobs", "alloc-exec", "alloc-lifecycle", "agent", "node"],
)
async def test_all_that_the_policy_has_is_needed(
    guarded: Cluster, make_token: MakeToken, state: Path, spec: SandboxSpec, lacked: str
) -> None:
    driver = driver_with(guarded, make_token(lacked), state)
    able = driver_with(guarded, guarded.token, state)
    try:
        with pytest.raises(Exception, match=r"Nomad does not let|can't be reached"):
            await use_all(driver, spec)
    finally:
        await asyncio.gather(*(able.destroy(each) for each in await able.list()))
        await asyncio.gather(driver.aclose(), able.aclose())


@pytest.mark.parametrize("token", ["", "11111111-2222-3333-4444-555555555555", "nonsense"])
async def test_a_token_that_is_not_known_is_said(guarded: Cluster, state: Path, token: str) -> None:
    driver = driver_with(guarded, token, state)
    try:
        health = await driver.probe()
        assert not health.works
        assert "NOMAD_TOKEN" in f"{health.problems[0].summary} {health.problems[0].remedy}"
    finally:
        await driver.aclose()
