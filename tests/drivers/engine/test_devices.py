"""Devices of the machine in containers: the engine's own group lets them through, too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from engine_daemon import Daemon

from assay.agent.native import program
from assay.agent.session import open_session
from assay.domain.command import Command
from assay.domain.devices import Device
from assay.driver.port import SandboxSpec
from assay.drivers.engine import DOCKER, PODMAN, EngineDriver
from assay.images import host_image

pytestmark = [pytest.mark.root, pytest.mark.slow]

UNUSUAL = ("/dev/cpu_dma_latency", "/dev/hwrng", "/dev/rtc0", "/dev/kvm")
"""None that engines let through by themselves; only root may open the first two on the host."""
LOOK = """
import os, sys
os.close(os.open(sys.argv[1], os.O_RDONLY))
print(sorted(set(os.listdir("/dev"))))
"""


@pytest.mark.parametrize("name", ["docker", "podman"])
async def test_a_learner_opens_the_device_that_was_asked_for_and_nobody_else_sees_it(
    name: str, request: pytest.FixtureRequest, state: Path, spec: SandboxSpec, tmp_path: Path
) -> None:
    device = next((each for each in UNUSUAL if Path(each).exists()), None)
    if device is None:
        pytest.skip(f"this machine has none of {', '.join(UNUSUAL)}")
    daemon: Daemon = request.getfixturevalue(name)
    driver = EngineDriver(
        product={"docker": DOCKER, "podman": PODMAN}[name], endpoint=daemon.endpoint, state=state,
        agent=program("agent"), lean=program("lean"),
    )  # fmt: skip
    look = Command(argv=("/usr/bin/python3", "-c", LOOK, device))
    spec = replace(spec, root=host_image(tmp_path))
    having = replace(spec, devices=(Device(name=device),))
    try:
        async with open_session(driver, having) as session:
            completed = await session.run(look)
            assert completed.outcome.success, completed.stderr.decode()
        async with open_session(driver, spec) as session:
            assert b"No such file" in (await session.run(look)).stderr
    finally:
        await driver.aclose()
