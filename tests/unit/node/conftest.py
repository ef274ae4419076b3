"""Nodes in this process, on the fake driver, and servers' drivers that use them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from nodes_in_process import HOST, OpenDriver, OpenNode

from assay.bootstrap.node import RunningNode, running_node
from assay.cli.node_certificates import make
from assay.config import Settings
from assay.config.node import NodeSettings
from assay.config.options import Address
from assay.driver.port import Driver, Mount, RootFilesystem, SandboxSpec, Secret
from assay.drivers.fake import FakeDriver
from assay.drivers.nodes import NodesDriver, Sources
from assay.drivers.nodes import node as node_of_ours


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        missing = "the program openssl is needed"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    folder = tmp_path_factory.mktemp("certificates")
    list(make(folder, nodes=[HOST], servers=["main", "other"], days=2))
    return folder


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a node to come back."""
    monkeypatch.setattr(node_of_ours, "_DELAYS", (0.02, 0.05))


@pytest.fixture
def spec() -> SandboxSpec:
    """Of a node's own programs: nothing is sent."""
    root = RootFilesystem(
        digest="host", path=Path("/"), mounts=(Mount(source=Path("/usr"), target="/usr"),)
    )
    return SandboxSpec(root=root, secret=Secret(bytes(32)))


@pytest.fixture
def open_node(tmp_path: Path, certificates: Path) -> OpenNode:
    @contextlib.asynccontextmanager
    async def opened(
        driver: Driver | None = None,
        *,
        name: str = "node",
        port: int = 0,
        most: int = 10,
        certificates: Path = certificates / HOST,
    ) -> AsyncIterator[RunningNode]:
        settings = NodeSettings(
            base=Settings(state=tmp_path / name, images=tmp_path / f"{name}-images"),
            listen=Address(host=HOST, port=port),
            certificates=certificates,
            driver="fake",
            stock=0,
            most_sandboxes=most,
        )
        async with running_node(settings, driver=driver or FakeDriver()) as node:
            yield node

    return opened


@pytest.fixture
def open_driver(tmp_path: Path, certificates: Path) -> OpenDriver:
    @contextlib.asynccontextmanager
    async def opened(
        *ports: int, server: str = "main", state: str = "state", folder: Path | None = None
    ) -> AsyncIterator[NodesDriver]:
        driver = NodesDriver(
            sources=Sources(addresses=tuple(f"{HOST}:{port}" for port in ports)),
            certificates=folder or certificates / server,
            state=tmp_path / state,
        )
        try:
            yield driver
        finally:
            await driver.aclose()

    return opened
