"""What engines of other machines, and runtimes with kernels of their own, are told and believed."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
import sys
from pathlib import Path

import pytest

from assay.bootstrap.drivers import make_driver
from assay.config import Settings
from assay.domain.errors import ConnectionLost, InvalidInput, RuntimeFailed
from assay.domain.limits import MIB, SandboxLimits
from assay.driver.port import RootFilesystem, SandboxSpec, Secret
from assay.drivers.engine import (
    DOCKER,
    KATA,
    SHARED,
    DistantDriver,
    EngineDriver,
    SshTunnel,
    TlsEndpoint,
    UnixSocket,
    endpoint,
)
from assay.drivers.engine.bridge import BridgeStream
from assay.drivers.engine.kind import Kind
from assay.drivers.engine.whole import Whole, whole
from assay.drivers.linux.container import RUN, TERMINALS, places
from assay.drivers.linux.working_folder import WorkingFolder

LIMITS = SandboxLimits(memory_bytes=64 * MIB, disk_bytes=16 * MIB, inodes=1600, processes=32)


def told(kind: Kind, runtime: str = "", *, agent_filters: bool = False) -> dict[str, object]:
    root = RootFilesystem(digest="d", path=Path("/nonexistent"))
    spec = SandboxSpec(root=root, secret=Secret(secrets.token_bytes(32)), limits=LIMITS)
    working = WorkingFolder(target="/workspace")
    own = places(spec, working, has_var_tmp=True)
    return whole(
        Whole(
            image="localhost/assay-root:x", runtime=runtime, kind=kind, spec=spec,
            machine="x86_64", places=own,
            masks_by_option=agent_filters, agent_filters=agent_filters, labels={"assay.state": "x"},
        )
    )  # fmt: skip


@pytest.mark.parametrize("kind", [SHARED, KATA])
def test_a_container_elsewhere_is_as_confined_as_one_here(kind: Kind) -> None:
    body = told(kind)
    host = body["HostConfig"]
    assert isinstance(host, dict)
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert "SYS_ADMIN" not in host["CapAdd"]
    assert host["SecurityOpt"][0] == "no-new-privileges"
    assert host["SecurityOpt"][1].startswith('seccomp={"defaultAction": "SCMP_ACT_ERRNO"')
    assert host["Memory"] == host["MemorySwap"] == LIMITS.memory_bytes + 16 * MIB
    assert LIMITS.processes < host["PidsLimit"] < LIMITS.processes + 32
    assert "/proc/kcore" in host["MaskedPaths"]
    assert "Binds" not in host


def test_all_places_together_have_no_more_than_the_limits_say() -> None:
    host = told(SHARED)["HostConfig"]
    assert isinstance(host, dict)
    told_of = {
        mount["Target"]: mount["VolumeOptions"]["DriverConfig"]["Options"]["o"]
        for mount in host["Mounts"]
    }
    options = {
        target: dict(each.split("=") for each in how.removesuffix(",nosuid,nodev").split(","))
        for target, how in told_of.items()
    }
    control = options.pop("/.assay/control")
    assert control["mode"] == "700"
    assert sum(int(each["nr_blocks"]) * 4096 for each in options.values()) == LIMITS.disk_bytes
    assert sum(int(each["nr_inodes"]) for each in options.values()) == LIMITS.inodes
    assert options["/workspace"]["uid"] == "10001"


def test_what_stands_in_place_of_an_engines_own_is_closed_or_has_a_limit() -> None:
    spec = SandboxSpec(root=RootFilesystem(digest="d", path=Path("/x")), secret=Secret(bytes(32)))
    body = whole(
        Whole(
            image="x", runtime="", kind=SHARED, spec=spec, machine="x86_64",
            places=[RUN, TERMINALS],
            masks_by_option=True, agent_filters=True, labels={},
        )
    )  # fmt: skip
    run, terminals = body["HostConfig"]["Mounts"]
    assert (run["Target"], run["ReadOnly"]) == ("/run", True)
    assert "max=96," in terminals["VolumeOptions"]["DriverConfig"]["Options"]["o"]


def test_the_secret_is_nothing_that_an_engine_is_told() -> None:
    spec_secret = secrets.token_bytes(32)
    body = repr(told(SHARED))
    assert spec_secret.hex() not in body
    assert "--secret-pipe" in body


def test_where_an_engine_hears_of_no_filter_the_agent_loads_it_and_paths_are_masked() -> None:
    body = told(SHARED, agent_filters=True)
    host = body["HostConfig"]
    assert isinstance(host, dict)
    assert isinstance(body["Cmd"], list)
    assert body["Cmd"][-2:] == ["--filter", "/.assay/filter"]
    assert [each.partition("=")[0] for each in host["SecurityOpt"]] == ["no-new-privileges", "mask"]


@pytest.mark.parametrize("name", ["docker:kata", "docker:io.containerd.kata.v2"])
def test_kata_is_asked_for_by_the_name_of_its_shim(name: str, tmp_path: Path) -> None:
    driver = make_driver(Settings(state=tmp_path, images=tmp_path), name)
    assert isinstance(driver, DistantDriver)
    assert driver.capabilities.own_kernel
    assert driver.runtime == "io.containerd.kata.v2"
    host = told(KATA, driver.runtime)["HostConfig"]
    assert isinstance(host, dict)
    assert host["Runtime"] == "io.containerd.kata.v2"
    # A kernel of its own counts its users by itself.
    assert "--processes" in repr(told(KATA)["Cmd"])
    assert "--processes" not in repr(told(SHARED)["Cmd"])


SLOW_TO_LISTEN = f"""#!{sys.executable}
import socket, sys, time
near = sys.argv[sys.argv.index("-L") + 1].partition(":")[0]
door = socket.socket(socket.AF_UNIX)
door.bind(near)
time.sleep(0.3)
door.listen()
while True:
    door.accept()
"""


async def test_a_tunnel_whose_socket_is_there_and_does_not_listen_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(SLOW_TO_LISTEN)
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    settings = Settings(state=tmp_path, images=tmp_path, runtimes={"podman": "ssh://h"})
    driver = make_driver(settings, "podman")
    assert isinstance(driver, DistantDriver)
    try:
        tunnel = driver.engine.endpoint
        (await asyncio.to_thread(tunnel.connect, 5)).close()
        _, writer = await tunnel.open(5)
        writer.close()
        await writer.wait_closed()
    finally:
        await driver.aclose()


@pytest.mark.parametrize(
    ("name", "address", "distant"),
    [
        ("docker", "unix:///a", False),
        ("docker:crun", "unix:///a", False),
        ("docker:runsc", "unix:///a", True),
        ("docker", "tcp://h:1", True),
        ("podman", "ssh://h", True),
    ],
)
async def test_local_engines_are_reached_by_their_sandboxes_sockets_and_others_by_a_bridge(
    name: str, address: str, distant: bool, tmp_path: Path
) -> None:
    runtimes = {name.partition(":")[0]: address}
    driver = make_driver(Settings(state=tmp_path, images=tmp_path, runtimes=runtimes), name)
    assert isinstance(driver, DistantDriver if distant else EngineDriver)
    assert driver.name == name
    await driver.aclose()


@pytest.mark.parametrize(
    ("name", "address", "asked"),
    [
        # Podman takes for removed what is still there, as its programs owe processor time.
        ("podman", "ssh://h", ["/libpod/containers/a/update", "/containers/a"]),
        ("docker", "tcp://h:1", ["/containers/a"]),
    ],
)
def test_podmans_containers_are_let_off_what_they_owe_before_they_are_removed(
    name: str, address: str, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state=tmp_path, images=tmp_path, runtimes={name: address})
    driver = make_driver(settings, name)
    assert isinstance(driver, DistantDriver)
    assert driver.capabilities.own_terminals == (name == "docker")
    paths: list[str] = []

    def ask(_method: str, path: str, *_more: object, **_options: object) -> None:
        paths.append(path)
        if path.endswith("/update"):
            raise RuntimeFailed("an older Podman knows no such request")

    monkeypatch.setattr(driver.engine, "ask", ask)
    driver._remove("a")
    assert [path for path in paths if path != "/volumes"] == asked


@pytest.mark.parametrize(
    ("address", "kind", "place"),
    [
        ("unix:///run/x", UnixSocket, "/run/x"),
        ("tcp://h.example", TlsEndpoint, "h.example:2376"),
        ("tcp://[::1]:1?certificates=/c", TlsEndpoint, "::1:1"),
        ("ssh://u@h:22", SshTunnel, "/var/run/docker.sock on u@h"),
        ("ssh://h/run/p?configuration=/c", SshTunnel, "/run/p on h"),
    ],
)
def test_an_engines_address_is_one_of_three_kinds(
    address: str, kind: type, place: str, tmp_path: Path
) -> None:
    found = endpoint(address, DOCKER.usual, tmp_path)
    assert isinstance(found, kind)
    assert found.place == place
    found.close()


@pytest.mark.parametrize(
    "address",
    [
        "unix://x", "/a", "", "http://h", "tcp://", "tcp://h:x", "tcp://h/path", "tcp://u@h:1",
        "tcp://h?certificates=relative", "tcp://h?tls=no", "ssh://-oProxyCommand=x",
        "ssh://u:password@h", "ssh://-l@h", "ssh://h/a:b", "ssh://h/%h", "ssh://h/a b",
        "ssh://h?configuration=x", "unix:///a?b=c", "tcp://h:1#x",
    ],
)  # fmt: skip
def test_anything_else_is_refused_before_any_program_sees_it(address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no engine's address|absolute path|can't be the path"):
        endpoint(address, DOCKER.usual, tmp_path)


async def streamed(*pieces: bytes) -> tuple[BridgeStream, socket.socket]:
    ours, theirs = socket.socketpair()
    stream = BridgeStream(*await asyncio.open_unix_connection(sock=ours))
    for piece in pieces:
        theirs.sendall(piece)
    return stream, theirs


async def all_of(stream: BridgeStream) -> None:
    while await stream.read(9):
        pass


def piece(kind: int, data: bytes) -> bytes:
    return struct.pack(">BxxxI", kind, len(data)) + data


async def test_a_bridge_gives_what_the_program_wrote_and_keeps_its_last_words() -> None:
    stream, theirs = await streamed(piece(1, b"one"), piece(2, b"words\n"), piece(1, b"two"))
    with theirs:
        assert await stream.read(2) == b"on"
        assert await stream.read(9) == b"e"
        assert await stream.read(9) == b"two"
        assert stream.words == "words"
        assert stream.try_write(b"x") == 1
        await stream.write(b"y")
        assert theirs.recv(9) == b"xy"
    assert await stream.read(9) == b""
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(ConnectionLost):
        stream.try_write(b"x")


@pytest.mark.parametrize(
    "said", [b"\1\0", piece(1, b"abc")[:-1], struct.pack(">BxxxI", 1, 1 << 30)], ids=repr
)
async def test_an_engine_that_breaks_off_or_exaggerates_loses_the_connection(said: bytes) -> None:
    stream, theirs = await streamed(said)
    theirs.close()
    with pytest.raises(ConnectionLost):
        await all_of(stream)
    await stream.aclose()


async def test_what_a_program_said_last_is_told_when_the_connection_breaks() -> None:
    stream, theirs = await streamed(piece(2, b"nobody listens\n"), b"\1\0")
    theirs.close()
    with pytest.raises(ConnectionLost) as broken:
        await stream.read(9)
    assert "nobody listens" in broken.value.detail
    await stream.aclose()
