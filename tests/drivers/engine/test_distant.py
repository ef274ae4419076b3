"""Engines that are reached as those of other machines are, and gVisor in Docker: the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from elsewhere import SSHD, Server, authority, behind_tls, certificates, key, ssh_server
from engine_daemon import Daemon
from needing import need
from test_suites import expect_passed_by

from assay.agent.native import program
from assay.agent.session import CONNECTION_BROKE, Session, connect
from assay.bootstrap.drivers import make_driver
from assay.config import Settings
from assay.domain.command import Command
from assay.domain.errors import DriverUnavailable
from assay.domain.limits import ExecutionLimits
from assay.driver.port import Driver, SandboxSpec, Secret
from assay.drivers.engine import DistantDriver
from assay.drivers.engine.engine import Engine
from assay.testing import CONFORMANCE, HOSTILE, Case

pytestmark = [pytest.mark.root, pytest.mark.slow]

WANTED = ("sandboxes/create-list-examine-destroy", "leakage/impersonating-the-agent")
EVERY = {case.name: case for case in (*CONFORMANCE, *HOSTILE)}
SAMPLE = [EVERY[name] for name in WANTED]
# Its programs owe processor time when they are killed.
OF_PODMAN = [*SAMPLE[:1], EVERY["memory/hoard-memfd"]]


@dataclass(frozen=True, kw_only=True)
class Far:
    """A Docker behind TLS."""

    daemon: Daemon
    authority: Path
    address: str


@pytest.fixture(scope="module")
def far() -> Iterator[Far]:
    need("docker")
    needed(shutil.which("openssl"), "openssl")
    folder = Path(tempfile.mkdtemp(prefix="assay-tls-"))
    try:
        with behind_tls(folder) as (daemon, signed_by, address):
            yield Far(daemon=daemon, authority=signed_by, address=address)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def server() -> Iterator[Server]:
    needed(shutil.which("ssh"), "openssh-client")
    needed(Path(SSHD).exists(), "openssh-server")
    with ssh_server() as running:
        yield running


def needed(found: object, package: str) -> None:
    if not found:
        pytest.fail(package) if os.environ.get("CI") else pytest.skip(f"{package} is not here")


@contextlib.asynccontextmanager
async def opened(state: Path, name: str, address: str) -> AsyncIterator[DistantDriver]:
    settings = Settings(state=state, images=state, runtimes={name.partition(":")[0]: address})
    driver = make_driver(settings, name)
    assert isinstance(driver, DistantDriver)
    try:
        yield driver
    finally:
        await driver.aclose()
        assert list(state.glob("*/tunnel-*")) == []


@contextlib.asynccontextmanager
async def used(driver: Driver, spec: SandboxSpec) -> AsyncIterator[Session]:
    """A session whose sandbox is destroyed at the end, whatever has become of its connection."""
    sandbox = await driver.create(spec)
    try:
        agent = await connect(driver, sandbox.id, spec.secret)
        try:
            yield Session(driver, sandbox, agent)
        finally:
            await agent.aclose()
    finally:
        await driver.destroy(sandbox.id)


async def expect_refused(state: Path, address: str, match: str) -> None:
    async with opened(state, "docker", address) as driver:
        with pytest.raises(DriverUnavailable, match=match):
            await driver.list()
        health = await driver.probe()
        assert not health.works
        assert health.problems


PROBE = "/usr/bin/probe"


@pytest.fixture
def spec(spec: SandboxSpec) -> SandboxSpec:
    shutil.copy(program("probe"), spec.root.path / "usr/bin/probe")
    return spec


def prompt(seconds: str) -> Command:
    return Command(argv=(PROBE, "prompt", "word", seconds), limits=ExecutionLimits(wall_seconds=60))


# --- the suites -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SAMPLE, ids=str)
async def test_a_docker_behind_tls_withstands_a_sample(
    far: Far, case: Case, state: Path, tmp_path: Path
) -> None:
    async with opened(state, "docker", far.address) as driver:
        await expect_passed_by(driver, case, tmp_path)


@pytest.mark.parametrize("case", SAMPLE[1:], ids=str)
async def test_gvisor_in_docker_withstands_a_sample(
    docker: Daemon, case: Case, state: Path, tmp_path: Path
) -> None:
    needed(shutil.which("runsc"), "runsc")
    async with opened(state, "docker:runsc", docker.endpoint) as driver:
        assert driver.capabilities.own_kernel
        await expect_passed_by(driver, case, tmp_path)


@pytest.mark.parametrize("case", OF_PODMAN, ids=str)
async def test_a_podman_behind_ssh_withstands_a_smaller_one(
    podman: Daemon, server: Server, case: Case, state: Path, tmp_path: Path
) -> None:
    async with opened(state, "podman", server.address(podman.socket)) as driver:
        await expect_passed_by(driver, case, tmp_path)
        assert await asyncio.to_thread(driver.engine.volumes, "assay.state", driver.mark) == []


# --- who is there ---------------------------------------------------------------------------------


async def test_an_engine_whose_certificate_nobody_vouches_for_is_not_asked(
    far: Far, state: Path, tmp_path: Path
) -> None:
    others = certificates(authority(tmp_path / "others"), tmp_path / "ours")
    address = f"{far.address.partition('?')[0]}?certificates={others}"
    await expect_refused(state, address, r"does not vouch for .*put the right authority")


async def test_an_engine_by_a_name_that_is_not_in_its_certificate_is_not_asked(
    far: Far, state: Path
) -> None:
    address = far.address.replace("127.0.0.1", "localhost")
    await expect_refused(state, address, r"does not vouch for .*name this host")


async def test_an_engine_that_does_not_accept_our_certificate_says_so(
    far: Far, state: Path, tmp_path: Path
) -> None:
    ours = certificates(authority(tmp_path / "others"), tmp_path / "ours")
    shutil.copy(far.authority / "ca.pem", ours)
    address = f"{far.address.partition('?')[0]}?certificates={ours}"
    await expect_refused(state, address, r"does not accept .*cert\.pem: have it signed")


async def test_where_no_certificates_are_the_folder_that_lacks_them_is_named(
    far: Far, state: Path, tmp_path: Path
) -> None:
    address = f"{far.address.partition('?')[0]}?certificates={tmp_path}"
    await expect_refused(state, address, r"is to hold ca\.pem, cert\.pem, key\.pem")


async def test_a_machine_that_does_not_answer_is_an_error_that_says_how_to_look(
    far: Far, state: Path
) -> None:
    address = f"tcp://127.0.0.1:1?{far.address.partition('?')[2]}"
    await expect_refused(state, address, r"no engine can be reached at 127\.0\.0\.1:1.*s_client")


async def test_a_machine_with_another_key_than_is_known_is_not_asked(
    server: Server, state: Path, tmp_path: Path
) -> None:
    server.trust(key(tmp_path / "others"))
    await expect_refused(state, server.address(Path("/nowhere")), r"somebody else answers there")


async def test_a_machine_whose_key_is_unknown_is_not_asked(server: Server, state: Path) -> None:
    (server.folder / "known").unlink()
    await expect_refused(state, server.address(Path("/nowhere")), r"its key is not known here")


async def test_a_machine_that_lets_nobody_in_is_an_error_that_says_what_it_lacks(
    server: Server, state: Path
) -> None:
    (server.folder / "authorized").write_text("")
    await expect_refused(state, server.address(Path("/nowhere")), r"give it a key: ssh-copy-id")


async def test_a_machine_without_an_engine_at_that_place_is_an_error(
    server: Server, state: Path
) -> None:
    await expect_refused(state, server.address(Path("/nowhere")), r"at /nowhere on .* broke off")


# --- when the connection breaks -------------------------------------------------------------------


async def test_a_connection_that_is_cut_loses_its_program_and_the_sandbox_goes_on(
    docker: Daemon, server: Server, state: Path, spec: SandboxSpec
) -> None:
    async with opened(state, "docker", server.address(docker.socket)) as driver:
        async with used(driver, spec) as session:
            execution = await session.start(prompt("30"))
            async for chunk in execution.output():
                assert chunk.data == b"word"
                break
            await asyncio.to_thread(server.cut)
            facts, _ = await session.conclude(execution, prompt("30"))
            assert facts.lost == CONNECTION_BROKE
            with pytest.raises(DriverUnavailable):
                await driver.list()
            await asyncio.to_thread(server.start)
            # A new tunnel is dug; the agent has kept all that is known of the program.
            agent = await connect(driver, session.sandbox.id, spec.secret, epoch=2)
            [known] = agent.known
            assert known.number == execution.number
            await agent.aclose()
        assert await driver.list() == []


async def test_another_server_finds_the_sandboxes_that_the_one_before_it_has_left(
    far: Far, state: Path, spec: SandboxSpec
) -> None:
    async with opened(state, "docker", far.address) as driver:
        sandbox = await driver.create(spec)
        agent = await connect(driver, sandbox.id, spec.secret)
        execution = await agent.start(prompt("0.1"))
        await agent.aclose()
    async with opened(state, "docker", far.address) as driver:
        assert await driver.list() == [sandbox.id]
        agent = await connect(driver, sandbox.id, spec.secret, epoch=2)
        attached = await agent.attach(execution.number)
        assert b"".join([chunk.data async for chunk in attached.output()]) == b"word"
        assert (await attached.wait()).exit_code == 0
        await agent.aclose()
        await driver.destroy(sandbox.id)
        assert await driver.list() == []


async def test_the_session_that_brings_the_secret_is_the_first_connection_and_no_other_is(
    far: Far, state: Path, spec: SandboxSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(state, "docker", far.address) as driver:
        begun: list[str] = []
        prepare = driver.engine.prepare
        monkeypatch.setattr(
            driver.engine, "prepare",
            lambda *of: (begun.append(of[0]), prepare(*of))[1],
        )  # fmt: skip
        for connections in (1, 2):
            secret = Secret(secrets.token_bytes(32))
            sandbox = await driver.create(replace(spec, secret=secret))
            begun.clear()
            for epoch in range(1, 1 + connections):
                await (await connect(driver, sandbox.id, secret, epoch=epoch)).aclose()
            assert len(begun) == connections - 1
            await driver.destroy(sandbox.id)
        kept = await driver.create(replace(spec, secret=Secret(secrets.token_bytes(32))))
        await driver.destroy(kept.id)  # with nobody connected
        assert not driver._sessions._opened


async def test_folders_of_the_same_name_on_two_machines_have_no_sandboxes_in_common(
    far: Far, state: Path, spec: SandboxSpec, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    async with (
        opened(state, "docker", far.address) as one,
        opened(other, "docker", far.address) as two,
    ):
        sandbox = await one.create(spec)
        assert await two.list() == []
        await one.destroy(sandbox.id)


async def test_an_image_is_copied_once_and_again_when_it_is_another(
    far: Far, state: Path, spec: SandboxSpec
) -> None:
    async with opened(state, "docker", far.address) as driver:
        engine, repository = (
            Engine(driver.engine.product, far.daemon.socket),
            "localhost/assay-root",
        )
        ours = f"{repository}:{driver.mark[:8]}-"
        for digest, count in (("one", 1), ("one", 1), ("two", 2)):
            again = replace(
                spec,
                root=replace(spec.root, digest=digest),
                secret=Secret(secrets.token_bytes(32)),
            )
            await driver.destroy((await driver.create(again)).id)
            found = [each for each in engine.images(repository) if each.startswith(ours)]
            assert len(found) == count
