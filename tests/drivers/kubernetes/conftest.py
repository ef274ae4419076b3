"""A real Kubernetes for tests, where its programs are on the PATH."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

sys.path.insert(0, str(Path(__file__).parent))

from kube_cluster import Cluster, lacking, running

from assay.agent.native import program
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.kubernetes import KubernetesDriver, Options
from assay.testing import bare_root


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    reason = lacking() or ("" if os.geteuid() == 0 else "a Kubernetes of one's own needs root")
    if reason:  # no package registry has it, so CI may lack it, too
        pytest.skip(reason)
    with running() as cluster:
        yield cluster


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="assay-kube-state-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


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


@pytest.fixture
def root(tmp_path: Path) -> RootFilesystem:
    return bare_root(tmp_path)


@pytest.fixture
def spec(root: RootFilesystem) -> SandboxSpec:
    return SandboxSpec(root=root, secret=Secret(secrets.token_bytes(32)))
