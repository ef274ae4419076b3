"""What happens to sandboxes and to who wants some when Docker fails: a real one, that is broken."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from engine_daemon import Daemon, running
from needing import need

from assay.agent.native import program
from assay.domain.errors import (
    AssayError,
    CreateTimeout,
    DiskFull,
    DriverError,
    DriverUnavailable,
    SandboxGone,
)
from assay.driver.port import SandboxSpec, Secret
from assay.drivers.engine import DOCKER, EngineDriver
from assay.drivers.engine.container import STATE
from assay.drivers.engine.engine import Engine
from assay.drivers.engine.seed import seed
from assay.drivers.linux.folder import new_id
from assay.drivers.linux.process import Process

pytestmark = [pytest.mark.root, pytest.mark.slow]


@contextlib.asynccontextmanager
async def opened(
    daemon: Daemon, state: Path, *, seconds: float = 20.0
) -> AsyncIterator[EngineDriver]:
    driver = EngineDriver(
        product=DOCKER, endpoint=daemon.endpoint, state=state, agent=program("agent"),
        lean=program("lean"), seconds=seconds,
    )  # fmt: skip
    try:
        yield driver
    finally:
        await driver.aclose()


async def destroy_all(driver: EngineDriver) -> None:
    for sandbox_id in await driver.list():
        await driver.destroy(sandbox_id)


def containers(driver: EngineDriver, daemon: Daemon) -> list[str]:
    """All of the driver's that the engine has, whatever the driver knows of."""
    return Engine(DOCKER, daemon.socket).named(STATE, driver.mark)


async def make_one(driver: EngineDriver, spec: SandboxSpec) -> None:
    """Show that sandboxes can be made, used and destroyed."""
    sandbox = await driver.create(another(spec))
    await (await driver.connect(sandbox.id)).aclose()
    await driver.destroy(sandbox.id)
    assert await driver.list() == []


def another(spec: SandboxSpec) -> SandboxSpec:
    return replace(spec, secret=Secret(secrets.token_bytes(32)))


async def test_after_a_crash_of_docker_its_sandboxes_can_be_destroyed_and_new_ones_made(
    own_docker: Daemon, state: Path, spec: SandboxSpec
) -> None:
    async with opened(own_docker, state) as driver:
        sandbox = await driver.create(spec)
        own_docker.kill()
        with pytest.raises(DriverUnavailable, match=r"no docker listens at .*start docker"):
            await driver.create(another(spec))
        with pytest.raises(DriverUnavailable):
            await driver.destroy(sandbox.id)
        # It could not be removed, but nothing of it goes on.
        assert Process.find(int(sandbox.facts["process"])) is None
        assert sandbox.id in await driver.list()
        own_docker.start()
        await destroy_all(driver)
        await make_one(driver, spec)
        assert containers(driver, own_docker) == []


async def test_a_docker_that_hangs_is_an_error_in_time_and_what_it_makes_later_is_removed(
    own_docker: Daemon, state: Path, spec: SandboxSpec
) -> None:
    async with (
        opened(own_docker, state) as driver,
        opened(own_docker, state, seconds=0.5) as impatient,
    ):
        await make_one(driver, spec)
        own_docker.signal(signal.SIGSTOP)
        with pytest.raises(CreateTimeout, match=r"did not answer in 0.5 s"):
            await impatient.create(another(spec))
        [half_made] = await impatient.list()
        own_docker.signal(signal.SIGCONT)
        await driver.destroy(half_made)
        await asyncio.sleep(1.0)  # it does now what it was asked for then
        for _ in range(20):  # or a moment later
            await destroy_all(driver)
            await make_one(driver, spec)
            if containers(driver, own_docker) == []:
                break
        assert containers(driver, own_docker) == []


async def test_a_container_that_nobody_knows_of_is_listed_and_can_be_destroyed(
    docker: Daemon, state: Path, spec: SandboxSpec
) -> None:
    async with opened(docker, state) as driver:
        await make_one(driver, spec)
        engine, image = Engine(DOCKER, docker.socket), seed(program("lean")).name
        stray = new_id()
        body = {"Image": image, "Entrypoint": ["/lean"], "Labels": {STATE: driver.mark}}
        engine.create(stray, body)
        assert await driver.list() == [stray]
        assert await driver.examine(stray) is None
        await driver.destroy(stray)
        assert await driver.list() == []


async def test_an_image_that_somebody_has_removed_is_made_again(
    docker: Daemon, state: Path, spec: SandboxSpec
) -> None:
    async with opened(docker, state) as driver:
        await make_one(driver, spec)
        image = seed(program("lean")).name
        Engine(DOCKER, docker.socket).ask("DELETE", f"/images/{image}", parameters={"force": 1})
        await make_one(driver, spec)


async def test_a_full_disk_of_docker_is_said_and_leaves_nothing(
    own_docker: Daemon, state: Path, spec: SandboxSpec
) -> None:
    async with opened(own_docker, state) as driver:
        await make_one(driver, spec)
        filler = str(own_docker.work / "filler")
        with pytest.raises(Exception, match="dd"):
            own_docker.within("dd", "if=/dev/zero", f"of={filler}", "bs=4k", "status=none")
        with pytest.raises(DiskFull, match=r"docker has no room left"):
            await driver.create(another(spec))
        own_docker.within("rm", filler)
        await destroy_all(driver)
        await make_one(driver, spec)
        assert containers(driver, own_docker) == []


async def test_a_hundred_creates_while_docker_is_stopped_each_end_and_leave_nothing(
    own_docker: Daemon, state: Path, spec: SandboxSpec
) -> None:
    async with opened(own_docker, state) as driver:
        creating = [asyncio.ensure_future(driver.create(another(spec))) for _ in range(100)]
        await asyncio.wait(creating, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(own_docker.stop)
        async with asyncio.timeout(60):
            results = await asyncio.gather(*creating, return_exceptions=True)
        failures = [each for each in results if isinstance(each, BaseException)]
        assert failures
        assert all(isinstance(each, AssayError) for each in failures), failures
        own_docker.start()
        await destroy_all(driver)
        await make_one(driver, spec)
        assert containers(driver, own_docker) == []


async def test_what_an_engine_says_of_a_process_that_is_no_containers_is_not_believed(
    docker: Daemon, state: Path, spec: SandboxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is elsewhere says numbers that are somebody else's here."""
    inspect = Engine.inspect
    monkeypatch.setattr(
        Engine, "inspect", lambda self, name: {**inspect(self, name), "State": {"Pid": docker.pid}}
    )
    async with opened(docker, state) as driver:
        with pytest.raises(DriverError, match=r"none of this machine's kernel"):
            await driver.create(spec)
        assert await driver.list() == []


async def test_a_sandbox_whose_container_somebody_removes_is_gone(
    docker: Daemon, state: Path, spec: SandboxSpec
) -> None:
    async with opened(docker, state) as driver:
        sandbox = await driver.create(spec)
        Engine(DOCKER, docker.socket).remove(sandbox.id)
        with pytest.raises(SandboxGone):
            await driver.connect(sandbox.id)
        await driver.destroy(sandbox.id)


async def test_an_engine_that_maps_its_containers_users_makes_the_same_sandboxes(
    state: Path, spec: SandboxSpec
) -> None:
    need("docker")
    with running("docker", megabytes=64, settings={"userns-remap": "nobody:nogroup"}) as daemon:
        async with opened(daemon, state) as driver:
            sandbox = await driver.create(spec)
            users = Path("/proc", sandbox.facts["process"], "uid_map").read_text().split()
            assert users == ["0", sandbox.facts["first_user"], "65536"]
            await destroy_all(driver)


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
async def test_an_engine_that_waits_for_a_systemd_that_is_not_there_is_told_so(
    state: Path, spec: SandboxSpec
) -> None:
    need("docker")
    settings = {"exec-opts": ["native.cgroupdriver=systemd"]}
    with running("docker", megabytes=64, settings=settings) as daemon:
        async with opened(daemon, state) as driver:
            with pytest.raises(DriverUnavailable, match=r"native\.cgroupdriver=cgroupfs"):
                await driver.create(spec)
            assert await driver.list() == []
