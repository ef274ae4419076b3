"""Root file systems on their way to a node."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from nodes_in_process import OpenDriver, OpenNode, of_numbers, until

from assay.driver.port import RootFilesystem, SandboxSpec
from assay.drivers.nodes import node as node_module
from assay.link.messages import Failed, decode
from assay.link.stream import LinkStream


async def test_a_root_is_sent_once_and_another_one_besides(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[str] = []
    open_root = node_module.Node.open_root

    async def counted(self: node_module.Node, name: str) -> LinkStream:
        sent.append(name)
        return await open_root(self, name)

    monkeypatch.setattr(node_module.Node, "open_root", counted)
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "file").write_text("x")
    own = replace(spec, root=RootFilesystem(digest="own", path=folder))
    async with open_node(of_numbers(0), name="a") as one, open_driver(one.port) as driver:
        await asyncio.gather(*(driver.create(own) for _ in range(5)))
        assert len(sent) == 1
        (folder / "more").write_text("y")
        await driver.create(replace(own, root=replace(own.root, digest="another")))
        assert len(set(sent)) == 2
        kept = tmp_path / "a-images/received/roots"
        assert sorted((each / "root/more").exists() for each in kept.iterdir()) == [False, True]


async def test_a_root_that_arrives_damaged_or_in_part_is_not_kept(
    open_node: OpenNode, open_driver: OpenDriver, tmp_path: Path
) -> None:
    async with open_node() as node, open_driver(node.port) as driver:
        await driver.reports()
        members = driver._made
        assert members is not None
        for pieces in ([bytes(1024), b"", bytes(32)], [bytes(1024)], [bytes(1024), b""]):
            stream = await members.all[0].open_root("0" * 32)
            for piece in pieces:
                await stream.send(piece)
            if len(pieces) == 3:
                answer = decode(await stream.frame(4096), Failed)
                assert (answer.code, "another digest" in answer.message) == ("invalid_image", True)
            await stream.aclose()
        received = tmp_path / "node-images/received"
        await until(lambda: not list((received / "arriving").iterdir()))
        assert not (received / "roots").exists()


async def test_sending_a_root_that_is_given_up_leaves_no_thread(
    open_node: OpenNode,
    open_driver: OpenDriver,
    spec: SandboxSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "file").write_bytes(bytes(10_000_000))
    own = replace(spec, root=RootFilesystem(digest="own", path=folder))
    stuck = asyncio.Event()

    async def hang(self: LinkStream, data: bytes) -> None:
        if len(data) > 100_000:
            stuck.set()
            await asyncio.Event().wait()
        self._open().write(data)

    async with open_node() as node, open_driver(node.port) as driver:
        monkeypatch.setattr(LinkStream, "write", hang)
        making = asyncio.ensure_future(driver.create(own))
        await stuck.wait()
        making.cancel()
        await asyncio.wait((making,))
        await driver.aclose()
        monkeypatch.undo()
        ours = ("assay-packer", "assay-sender")
        await until(lambda: not any(t.name.startswith(ours) for t in threading.enumerate()))
