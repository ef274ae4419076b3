"""Settings of a server that serves this machine, with the fake driver."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest

from assay.config import Settings
from assay.config.options import Address
from assay.config.server import ConfiguredEnvironment, ServerSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServerSettings:
    return ServerSettings(
        base=Settings(state=tmp_path / "state", images=tmp_path / "images", driver="fake"),
        listen=Address(host="127.0.0.1", port=0),
        database=f"sqlite:///{tmp_path / 'server.db'}",
        environments=MappingProxyType({
            "bash": ConfiguredEnvironment(language="bash", pool_size=2)
        }),
        most_sandboxes=10,
    )  # fmt: skip
