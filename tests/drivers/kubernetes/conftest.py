"""A real Kubernetes for tests, where its programs are on the PATH."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "orchestrated"))

from kube_cluster import Cluster, lacking, running
from orchestrated_fixtures import root, skip_where, spec, state

from assay.agent.native import program
from assay.drivers.kubernetes import KubernetesDriver, Options

__all__ = ["root", "spec", "state"]  # fixtures of all tests here


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    skip_where(lacking(), "Kubernetes")
    with running() as cluster:
        yield cluster


@pytest.fixture
def options(cluster: Cluster) -> Options:
    return Options(
        kubeconfig=str(cluster.kubeconfig), namespace="default", registry=cluster.registry
    )


@pytest_asyncio.fixture
async def driver(options: Options, state: Path) -> AsyncIterator[KubernetesDriver]:
    driver = KubernetesDriver(options=options, state=state, agent=program("agent"))
    try:
        yield driver
        assert await driver.list() == []
    finally:
        await driver.aclose()
