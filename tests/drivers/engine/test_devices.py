"""Devices of the machine in containers: the engine's own group lets them through, too."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
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
for each in sys.argv[1:]:
    os.close(os.open(each, os.O_RDONLY))
"""
KIND, NODE, MODEL = "assay.test/accelerator", "/dev/accelerator/0", "/opt/vendor/model"


@pytest.fixture
def accelerator(tmp_path: Path) -> Iterator[str]:
    """The name of a device of the Container Device Interface, with a node and a file."""
    device = unusual()
    model = tmp_path / "model"
    model.write_text("model")
    nodes = [{"path": NODE, "hostPath": device}]
    mounts = [{"hostPath": str(model), "containerPath": MODEL}]
    edits = {"deviceNodes": nodes, "mounts": mounts}
    content = {"cdiVersion": "0.6.0", "kind": KIND, "devices": [
        {"name": str(os.getpid()), "containerEdits": edits},
    ]}  # fmt: skip
    folder = Path("/var/run/cdi")
    was_there = folder.exists()
    folder.mkdir(mode=0o755, exist_ok=True)
    file = folder / f"assay-engine-{os.getpid()}.json"
    file.write_text(json.dumps(content))
    file.chmod(0o644)
    yield f"{KIND}={os.getpid()}"
    file.unlink()
    if not was_there:
        folder.rmdir()


def unusual() -> str:
    device = next((each for each in UNUSUAL if Path(each).exists()), None)
    return device or pytest.skip(f"this machine has none of {', '.join(UNUSUAL)}")


@pytest.mark.parametrize("name", ["docker", "podman"])
async def test_a_learner_opens_the_devices_that_were_asked_for_and_nobody_else_sees_them(
    name: str,
    request: pytest.FixtureRequest,
    state: Path,
    spec: SandboxSpec,
    accelerator: str,
    tmp_path: Path,
) -> None:
    device = unusual()
    daemon: Daemon = request.getfixturevalue(name)
    driver = EngineDriver(
        product={"docker": DOCKER, "podman": PODMAN}[name], endpoint=daemon.endpoint, state=state,
        agent=program("agent"), lean=program("lean"),
    )  # fmt: skip
    look = Command(argv=("/usr/bin/python3", "-c", LOOK, device, NODE, MODEL))
    spec = replace(spec, root=host_image(tmp_path))
    having = replace(spec, devices=(Device(name=device), Device(name=accelerator)))
    try:
        async with open_session(driver, having) as session:
            completed = await session.run(look)
            assert completed.outcome.success, completed.stderr.decode()
        async with open_session(driver, spec) as session:
            assert b"No such file" in (await session.run(look)).stderr
    finally:
        await driver.aclose()
