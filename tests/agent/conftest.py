"""The C agent alone, spoken to in raw frames: that of this machine, and of the other one."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from wire import RunningAgent, running_agent

from assay.agent.native import program
from assay.domain.errors import Unavailable

HERE = platform.machine()
MACHINES = ("x86_64", "aarch64")


def emulator(machine: str) -> list[str]:
    """What runs a program of `machine`: nothing here, qemu for the other one's."""
    if machine == HERE:
        return []
    found = shutil.which(f"qemu-{machine}-static")
    return [found] if found else lacking(f"qemu-{machine}-static (package qemu-user-static)")


def lacking(what: str) -> list[str]:
    message = f"lacks {what}"
    return pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


@pytest.fixture(
    scope="session",
    params=[pytest.param(m, marks=() if m == HERE else pytest.mark.slow) for m in MACHINES],
)
def agent_command(request: pytest.FixtureRequest) -> list[str]:
    """What runs the agent of a machine."""
    try:
        return [*emulator(request.param), str(program("agent", machine=request.param))]
    except Unavailable as error:
        return lacking(error.message)


@pytest.fixture
def agent(agent_command: list[str], tmp_path: Path) -> Iterator[RunningAgent]:
    with running_agent(agent_command, tmp_path) as running:
        yield running
