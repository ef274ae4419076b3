"""All nodes: looked up again and again, each connected to for as long as it is one of them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import AssayError
from assay.driver.port import Capabilities
from assay.drivers.nodes.addresses import Sources
from assay.drivers.nodes.identity import Identity
from assay.drivers.nodes.node import Node
from assay.link.certificates import for_server
from assay.link.messages import Facts, Status

LOOK_SECONDS: Final = 5.0
"""How often it is looked up which nodes there are."""
_SECONDS_TO_TRY: Final = 4.0
"""For a first answer of any node."""
_SECONDS_FOR_OTHERS: Final = 1.0
"""For a node's first answer where another one is here already: who starts does not wait for the
silent, which join whenever they answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeReport:
    """What is known of a node; `problem` says why it can't be asked, or is not used."""

    name: str
    facts: Facts | None = None
    status: Status | None = None
    problem: str = ""


class Members:
    """The nodes that the sources name. When these can't be asked, it is those of before.

    `on_gone` is told the name of one that is not among them any more.
    """

    def __init__(
        self,
        sources: Sources,
        certificates: Path,
        identity: Identity,
        on_gone: Callable[[str], None],
    ) -> None:
        self._sources = sources
        self._certificates = certificates
        self._identity = identity
        self._on_gone = on_gone
        self._context: ssl.SSLContext | None = None
        self._nodes: dict[str, Node] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self.problem = ""
        """Why it is not known which nodes there are."""

    async def ready(self, *, everyone: bool = False) -> None:
        """Return when every node has answered, or can't be reached; or as soon as one is here and
        the others have had a second, unless it is to be known of `everyone`. Raises Unavailable
        without certificates.
        """
        if self._context is None:
            self._context = for_server(self._certificates)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        await self._looked.wait()
        await self._tried(
            _SECONDS_TO_TRY if everyone else _SECONDS_FOR_OTHERS, asyncio.ALL_COMPLETED
        )
        while not self.here and await self._tried(_SECONDS_TO_TRY, asyncio.FIRST_COMPLETED):
            pass

    async def _tried(self, seconds: float, which: str) -> bool:
        """Wait for nodes that were not tried yet, each for so long since it was begun to.

        Whether any were left that had time.
        """
        now = asyncio.get_running_loop().time()
        left = [node for node in self._nodes.values()
                if not node.tried.is_set() and node.since + seconds > now]  # fmt: skip
        if not left:
            return False
        waiting = [asyncio.ensure_future(node.tried.wait()) for node in left]
        try:
            latest = max(node.since for node in left) + seconds - now
            await asyncio.wait(waiting, timeout=latest, return_when=which)
        finally:
            for each in waiting:
                each.cancel()
        return True

    @property
    def all(self) -> Sequence[Node]:
        """Every node, here or not."""
        return tuple(self._nodes.values())

    @property
    def here(self) -> Sequence[Node]:
        """Those that can be asked now."""
        return tuple(node for node in self._nodes.values() if node.is_here)

    def get(self, name: str) -> Node | None:
        """One of them."""
        return self._nodes.get(name)

    async def aclose(self) -> None:
        """Let go of all."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))
        self._nodes.clear()

    async def _look(self) -> None:
        while True:
            try:
                await self._look_once()
            except AssayError as error:
                self.problem = error.message
            self._looked.set()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_once(self) -> None:
        assert self._context is not None
        wanted = {str(address): address for address in await self._sources.find()}
        self.problem = ""
        for name in self._nodes.keys() - wanted.keys():
            node = self._nodes.pop(name)
            self._on_gone(name)
            await node.aclose()
        for name in sorted(wanted.keys() - self._nodes.keys()):
            node = self._nodes[name] = Node(
                wanted[name],
                context=self._context,
                certificates=self._certificates,
                identity=self._identity,
            )
            node.start()


@contextlib.asynccontextmanager
async def looked_at(
    sources: Sources, certificates: Path, identity: Identity
) -> AsyncIterator[Members]:
    """All nodes, for a look at them. Raises Unavailable without certificates."""
    members = Members(sources, certificates, identity, lambda _: None)
    try:
        await members.ready()
        yield members
    finally:
        await members.aclose()


def known(members: Members) -> list[Capabilities]:
    """What the nodes say that they can do, of those that answer."""
    return [node.capabilities for node in members.all if node.capabilities is not None]
