"""Real machines, of an image that holds nothing but the suites' program; one boot serves all."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from virtual_machines import machine_driver, missing

from assay.agent.native import program
from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.microvm import MicroVmDriver
from assay.testing import bare_root

OpenDriver = Callable[..., AbstractAsyncContextManager[MicroVmDriver]]


@pytest.fixture(scope="session", autouse=True)
def needed() -> None:
    if lacking := missing():
        pytest.fail(lacking) if os.environ.get("CI") else pytest.skip(lacking)


@pytest.fixture(scope="session")
def shared() -> Iterator[Path]:
    """A state folder for all tests: what is kept there needs to be booted once only."""
    folder = Path(tempfile.mkdtemp(prefix="assay-vm-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def root(shared: Path) -> RootFilesystem:
    """An empty image, but for the suites' program and an id of its machine."""
    root = bare_root(shared)
    shutil.copy(program("probe"), root.path / "usr/bin/probe")
    (root.path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    return root


@pytest.fixture
def open_driver() -> OpenDriver:
    @asynccontextmanager
    async def opened(state: Path, **options: str) -> AsyncIterator[MicroVmDriver]:
        driver = machine_driver(state, **options)
        try:
            yield driver
            assert await driver.list() == []
        finally:
            for sandbox_id in await driver.list():
                await driver.destroy(sandbox_id)
            await driver.aclose()
        assert list((state / "users").glob("*")) == []

    return opened


@pytest.fixture
async def driver(open_driver: OpenDriver, shared: Path) -> AsyncIterator[MicroVmDriver]:
    async with open_driver(shared) as driver:
        yield driver


@pytest.fixture
def spec(root: RootFilesystem) -> SandboxSpec:
    limits = SandboxLimits(memory_bytes=64 * MIB, disk_bytes=8 * MIB)
    return SandboxSpec(root=root, secret=Secret(secrets.token_bytes(32)), limits=limits)
