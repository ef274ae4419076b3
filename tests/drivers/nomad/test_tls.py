"""The driver with a real Nomad whose agents and clients show one another certificates."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, lacking, running
from nomad_tls import Certificates, Pair
from orchestrated_fixtures import skip_where

from assay.agent.native import program
from assay.driver.port import RootFilesystem
from assay.drivers.nomad import NomadDriver, Options
from assay.testing import CONFORMANCE, HOSTILE, Verdict, check_case

pytestmark = [pytest.mark.root, pytest.mark.slow]

CASES = ("sandboxes/create-list-examine-destroy", "reattachment/programs-run-on-alone")


@pytest.fixture(scope="module")
def guarded() -> Iterator[Cluster]:
    skip_where(lacking(), "Nomad")
    with running(acl=True, tls=True) as cluster:
        yield cluster


def certificates(cluster: Cluster) -> Certificates:
    assert cluster.certificates is not None
    return cluster.certificates


def options(cluster: Cluster, pair: Pair | None, **more: Any) -> Options:
    """Of somebody who shows that."""
    shown = {"certificate": str(pair.certificate), "key": str(pair.key)} if pair else {}
    usual = Options(
        address=cluster.address, registry=cluster.registry, token=cluster.token,
        authority=str(certificates(cluster).authority), **shown,
    )  # fmt: skip
    return dataclasses.replace(usual, **more)


async def refusal(asking: Options, state: Path) -> str:
    """What probing says that is wrong, and what to do."""
    driver = NomadDriver(options=asking, state=state, agent=program("agent"))
    try:
        health = await driver.probe()
        assert not health.works
        return f"{health.problems[0].summary} {health.problems[0].remedy}"
    finally:
        await driver.aclose()


async def test_with_a_token_and_a_certificate_sandboxes_are_made(
    guarded: Cluster, state: Path, root: RootFilesystem
) -> None:
    asking = options(guarded, certificates(guarded).pair("server"))
    driver = NomadDriver(options=asking, state=state, agent=program("agent"))
    try:
        for case in (*CONFORMANCE, *HOSTILE):
            if case.name in CASES:
                result = await check_case(driver, case, root=root)
                assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"
        assert await driver.list() == []
    finally:
        await driver.aclose()


async def test_a_certificate_does_not_stand_in_for_a_token_nor_a_token_for_a_certificate(
    guarded: Cluster, state: Path
) -> None:
    pair = certificates(guarded).pair("server")
    assert "NOMAD_TOKEN" in await refusal(options(guarded, pair, token=""), state)
    assert "name one in NOMAD_CLIENT_CERT" in await refusal(options(guarded, None), state)


async def test_who_shows_the_wrong_certificate_hears_what_to_do(
    guarded: Cluster, state: Path, tmp_path: Path
) -> None:
    ours, theirs = certificates(guarded), Certificates(tmp_path / "elsewhere")
    ended = await refusal(options(guarded, ours.pair("old", ended=True)), state)
    assert "shown has expired: name another in NOMAD_CLIENT_CERT" in ended
    foreign = await refusal(options(guarded, theirs.pair("somebody")), state)
    assert "does not know the authority" in foreign
    plain = guarded.address.replace("https:", "http:")
    assert "say https://" in await refusal(options(guarded, None, address=plain), state)
    at_registry = f"https://{guarded.registry.partition('/')[0]}"
    said = await refusal(options(guarded, ours.pair("server"), address=at_registry), state)
    assert "does not speak TLS: say http://" in said
    other = options(guarded, ours.pair("server"), authority=str(theirs.authority))
    assert "not vouched for; name its authority in NOMAD_CACERT" in await refusal(other, state)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"ended": True}, "its certificate has expired; whoever runs it"),
        ({"addresses": ("server.global.nomad", "client.global.nomad")}, "is for other names"),
    ],
    ids=["expired", "of-another-name"],
)
async def test_an_agent_with_the_wrong_certificate_is_not_spoken_to(
    guarded: Cluster, state: Path, wrong: dict[str, Any], words: str
) -> None:
    asking = options(guarded, certificates(guarded).pair("server"))
    guarded.kill_agent()
    guarded.agents_own = certificates(guarded).agent(**wrong)
    try:
        guarded.start_agent()
        guarded.wait_until_answers()
        assert words in await refusal(asking, state)
    finally:
        guarded.kill_agent()
        guarded.agents_own = certificates(guarded).agent()
        guarded.start_agent()
        guarded.wait_until_ready()
