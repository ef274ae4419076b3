"""What a node and a server make of those who should not be there, or say what makes no sense."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import ssl
import struct
from pathlib import Path

import pytest
from nodes_in_process import HOST, Gated, OpenDriver, OpenNode

from assay.cli.node_certificates import _sign, make
from assay.domain.errors import (
    AssayError,
    DriverUnavailable,
    Unavailable,
)
from assay.driver.port import SandboxSpec
from assay.drivers.fake import FakeMachine
from assay.link.certificates import for_server
from assay.link.frames import frame
from assay.link.messages import VERSION, Control, Failed, Hello, decode, encode
from assay.node import requests as requests_module
from assay.node import server as server_module


async def test_who_shows_no_certificate_of_the_authority_is_shut_out(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    certificates: Path,
    tmp_path: Path,
) -> None:
    list(make(tmp_path / "stranger", nodes=[HOST], servers=["main"], days=2))
    shutil.copytree(certificates / HOST, tmp_path / "node-as-server")
    mixed = shutil.copytree(tmp_path / "stranger/main", tmp_path / "mixed")
    shutil.copy(certificates / "main/ca.pem", mixed)
    async with open_node() as node:
        for folder, words in (
            (tmp_path / "stranger/main", "does not vouch for"),
            (mixed, "does not accept"),
            (tmp_path / "node-as-server", "does not accept"),
        ):
            async with open_driver(node.port, folder=folder) as driver:
                with pytest.raises(DriverUnavailable, match=words):
                    await driver.create(spec)


async def test_who_shows_no_certificate_at_all_is_told_nothing_by_a_node(
    open_node: OpenNode, certificates: Path
) -> None:
    """Not even that a name is missing: TLS itself has to refuse."""
    anybody = ssl.create_default_context(cafile=certificates / "main/ca.pem")
    async with open_node() as node:
        reader, writer = await asyncio.open_connection(HOST, node.port, ssl=anybody)
        hello = Hello(version=VERSION, scope="0" * 16, purpose=Control())
        writer.write(frame(encode(hello)))
        told = b""
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            told = await reader.read()
        assert told == b""
        writer.close()


@pytest.mark.parametrize(("use", "refused"), [("clientAuth", True), ("serverAuth", False)])
async def test_a_servers_certificate_makes_no_node_though_it_names_the_address(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    certificates: Path,
    tmp_path: Path,
    use: str,
    refused: bool,
) -> None:
    """Whoever takes a server over can't take other servers' images and secrets as their node."""
    folder = _sign(certificates / "authority", tmp_path / "shown", HOST, 2, use, f"IP:{HOST}")
    async with open_node(certificates=folder) as node, open_driver(node.port) as driver:
        if refused:
            with pytest.raises(DriverUnavailable, match=r"does not vouch for.*purpose"):
                await driver.create(spec)
        else:
            await driver.destroy((await driver.create(spec)).id)


@pytest.mark.parametrize(("use", "refused"), [("serverAuth", True), ("clientAuth", False)])
async def test_a_nodes_certificate_makes_no_server_though_it_has_its_name(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    certificates: Path,
    tmp_path: Path,
    use: str,
    refused: bool,
) -> None:
    """Whoever takes a node over can't ask the other ones."""
    folder = _sign(certificates / "authority", tmp_path / "shown", "main", 2, use, "DNS:main")
    async with open_node() as node, open_driver(node.port, folder=folder) as driver:
        if refused:
            with pytest.raises(DriverUnavailable, match="does not accept"):
                await driver.create(spec)
        else:
            await driver.destroy((await driver.create(spec)).id)


async def test_without_certificates_it_is_said_how_they_are_made(
    open_driver: OpenDriver, spec: SandboxSpec, tmp_path: Path
) -> None:
    async with open_driver(1, folder=tmp_path) as driver:
        with pytest.raises(Unavailable, match=r"ca.pem.*assay node certificates"):
            await driver.create(spec)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (frame(b'{"version":2}'), "version 2"),
        (frame(b"nonsense"), "no message"),
        (struct.pack(">I", 2**31), "announced"),
        (frame(b'{"type":"hello","version":1,"scope":"../etc"}'), "no message"),
    ],
)  # fmt: skip
async def test_nonsense_is_answered_and_costs_its_own_connection_only(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    certificates: Path,
    sent: bytes,
    said: str,
) -> None:
    async with open_node() as node, open_driver(node.port) as driver:
        reader, writer = await asyncio.open_connection(
            HOST, node.port, ssl=for_server(certificates / "main")
        )
        writer.write(sent)
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        answer = decode(await reader.readexactly(length), Failed)
        assert said in answer.message
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        await driver.destroy((await driver.create(spec)).id)


async def test_a_server_that_says_nothing_is_not_waited_for(
    open_node: OpenNode, certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_SECONDS_TO_HELLO", 0.1)
    async with open_node() as node:
        reader, writer = await asyncio.open_connection(
            HOST, node.port, ssl=for_server(certificates / "main")
        )
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_server_that_does_not_wait_for_answers_is_shut_out(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requests_module, "MOST_AT_ONCE", 3)
    machine = FakeMachine()
    async with open_node(Gated(machine)) as node, open_driver(node.port) as driver:
        making = [asyncio.ensure_future(driver.create(spec)) for _ in range(4)]
        await asyncio.wait(making)
        assert all(isinstance(each.exception(), AssayError) for each in making)
        assert machine.made == 0
