"""What tests of drivers with an orchestrator behind them have in common, for their conftest.py."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.testing import bare_root


def skip_where(lacking: str, which: str) -> None:
    """Skip a test that needs one of its own. No package registry has it, so CI may lack it, too."""
    reason = lacking or ("" if os.geteuid() == 0 else f"a {which} of one's own needs root")
    if reason:
        pytest.skip(reason)


@pytest.fixture
def state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="assay-orchestrated-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def root(tmp_path: Path) -> RootFilesystem:
    return bare_root(tmp_path)


@pytest.fixture
def spec(root: RootFilesystem) -> SandboxSpec:
    return SandboxSpec(root=root, secret=Secret(secrets.token_bytes(32)))
