"""The C agent alone, spoken to in raw frames."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from wire import RunningAgent, running_agent

from assay.agent.native import program


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[RunningAgent]:
    with running_agent(program("agent"), tmp_path) as running:
        yield running
