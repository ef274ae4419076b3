"""Engines of the tests' own, and a check after each test that nothing of a sandbox is left."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine_daemon import Daemon, running
from needing import need

from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.testing import bare_root


@pytest.fixture(scope="session")
def docker() -> Iterator[Daemon]:
    need("docker")
    with running("docker") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def podman() -> Iterator[Daemon]:
    need("podman")
    with running("podman") as daemon:
        yield daemon


@pytest.fixture(scope="session")
def breakable() -> Iterator[Daemon]:
    need("docker")
    with running("docker", megabytes=64) as daemon:
        yield daemon


@pytest.fixture
def own_docker(breakable: Daemon) -> Daemon:
    """One that a test may break; it runs, whatever the test before has done to it."""
    if not breakable.answers():
        breakable.kill()
        breakable.start()
    return breakable


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="assay-engine-"))
    try:
        yield folder
        assert [*folder.glob("*/sandboxes/*"), *folder.glob("users/*")] == []
        assert str(folder) not in Path("/proc/self/mountinfo").read_text()
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def root(tmp_path: Path) -> RootFilesystem:
    return bare_root(tmp_path)


@pytest.fixture
def spec(root: RootFilesystem) -> SandboxSpec:
    return SandboxSpec(root=root, secret=Secret(secrets.token_bytes(32)))
