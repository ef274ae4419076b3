"""A real Nomad for tests, where the program is on the PATH."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "orchestrated"))

from cluster import Cluster, lacking, running
from orchestrated_fixtures import root, skip_where, spec, state

from assay.agent.native import program
from assay.drivers.nomad import NomadDriver, Options

__all__ = ["root", "spec", "state"]  # fixtures of all tests here


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    skip_where(lacking(), "Nomad")
    with running() as cluster:
        yield cluster


@pytest_asyncio.fixture
async def driver(cluster: Cluster, state: Path) -> AsyncIterator[NomadDriver]:
    options = Options(address=cluster.address, registry=cluster.registry)
    driver = NomadDriver(options=options, state=state, agent=program("agent"))
    try:
        yield driver
        assert await driver.list() == []
    finally:
        await driver.aclose()
