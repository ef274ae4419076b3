"""The driver: sandboxes on other machines, made by the nodes there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

from assay.domain.errors import (
    AssayError,
    CapabilityMissing,
    CapacityExceeded,
    DriverError,
    DriverUnavailable,
    InvalidInput,
    SandboxGone,
)
from assay.driver.guard import require_devices
from assay.driver.port import (
    ByteStream,
    Capabilities,
    Health,
    Installation,
    Problem,
    Sandbox,
    SandboxSpec,
    SandboxState,
)
from assay.drivers.linux import health
from assay.drivers.nodes.abilities import USUAL, common, lacking
from assay.drivers.nodes.addresses import Sources
from assay.drivers.nodes.choice import choose
from assay.drivers.nodes.identity import Identity
from assay.drivers.nodes.members import Members, NodeReport, known, looked_at
from assay.drivers.nodes.node import Node
from assay.drivers.nodes.places import Places
from assay.drivers.nodes.sending import Sending, name_of
from assay.link.machine import machine_now, scope_of
from assay.link.messages import (
    Created,
    Examine,
    Examined,
    Listed,
    Listing,
    RootMissing,
    Wish,
)
from assay.link.spec import to_wish

LOST_SECONDS: Final = 12.0
"""A node that has not answered for so long has lost its sandboxes, as far as anybody waits."""
_NOBODY: Final = Problem(
    summary="no nodes are named", remedy="name them in ASSAY_NODES or [nodes] (docs/nodes.md)"
)
_TRIES: Final = 3
"""Of making one sandbox, each on another node."""


class NodesDriver:
    """Makes sandboxes on the nodes that `sources` name.

    `certificates` is a folder with what this server shows, and believes; `state` is the folder of
    this server's own: those of others are shown none of its sandboxes, unless they `share` them.
    """

    name = "nodes"

    def __init__(self, *, sources: Sources, certificates: Path, state: Path) -> None:
        self._sources = sources
        self._certificates = certificates
        self._state = state.absolute()
        self._identity = Identity(scope=scope_of(self._state))
        self._places = Places()
        self._sending = Sending()
        self._made: Members | None = None
        self._promised: Capabilities | None = None
        self._looked = False

    # --- what it is ------------------------------------------------------------------------------

    def share(self, installation: Installation) -> None:
        """Have all sandboxes in common with the other servers of an installation."""
        assert self._made is None
        self._identity = replace(self._identity, installation=installation)

    @property
    def capabilities(self) -> Capabilities:
        """What all nodes can do; from then on a node that can do less is not used.

        Who asks before all else waits until the nodes have answered: one second where one of them
        has, four at most.
        """
        if self._promised is None:
            found = self._look_aside() if self._made is None else known(self._made)
            if not found:
                return USUAL
            self._promised = common(found)
        return self._promised

    def _look_aside(self) -> Sequence[Capabilities]:
        """Ask the nodes in an event loop of another thread, once."""
        if self._looked or not self._sources.said:
            return ()
        self._looked = True
        with ThreadPoolExecutor(1, thread_name_prefix="assay-nodes") as aside:
            return aside.submit(asyncio.run, self._look()).result()

    async def _look(self) -> Sequence[Capabilities]:
        try:
            async with looked_at(self._sources, self._certificates, self._identity) as members:
                return known(members)
        except AssayError:
            return ()

    async def probe(self) -> Health:
        """Ask all nodes, and make a sandbox on one of them. Never raises."""
        if not self._sources.said:
            return Health(works=False, problems=(_NOBODY,))
        try:
            reports = await self.reports()
            await health.attempt(self, self._state)
        except (AssayError, OSError) as error:
            return Health(works=False, problems=(health.problem(error),))
        problems = tuple(Problem(summary=each.problem) for each in reports if each.problem)
        usable = [each for each in reports if not each.problem]
        return Health(
            works=True, version=f"{len(usable)} of {len(reports)} nodes", problems=problems
        )

    async def reports(self) -> Sequence[NodeReport]:
        """What is known of each node, by name. Raises Unavailable without certificates."""
        members = await self._members(everyone=True)
        return [
            NodeReport(
                name=node.name,
                facts=node.facts,
                status=node.status if node.is_here else None,
                problem=self._problem(node),
            )
            for node in sorted(members.all, key=lambda node: node.name)
        ]

    def _problem(self, node: Node) -> str:
        if not node.is_here or node.capabilities is None:
            return node.problem or f"{node.name} does not answer"
        missing = lacking(node.capabilities, self.capabilities)
        if missing:
            return f"{node.name} is not used: it lacks what others have: {', '.join(missing)}"
        return ""

    async def _members(self, *, everyone: bool = False) -> Members:
        if not self._sources.said:
            raise DriverUnavailable(f"{_NOBODY.summary}: {_NOBODY.remedy}")
        if self._made is None:
            self._made = Members(
                self._sources, self._certificates, self._identity, self._places.forget
            )
        await self._made.ready(everyone=everyone)
        return self._made

    def leaving(self) -> Collection[str]:
        """Sandboxes of nodes that are to be emptied, which others should take the place of."""
        draining = [node.name for node in (self._made.here if self._made else ())
                    if node.status is not None and node.status.draining]  # fmt: skip
        return [each for name in draining for each in self._places.of(name)]

    # --- making ----------------------------------------------------------------------------------

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox whose agent accepts connections, on the node that suits best.

        Raises what the last node says that it was tried on, CapacityExceeded when all are full,
        DriverUnavailable when none answers.
        """
        members = await self._members()
        if spec.network and not self.capabilities.network_on:
            raise CapabilityMissing("the driver nodes makes sandboxes without network only")
        require_devices(spec.devices, self.name, self.capabilities)
        wish = to_wish(spec, name_of(spec.root))
        failures: dict[str, AssayError] = {}
        while len(failures) < _TRIES and (node := self._choose(members, failures)) is not None:
            try:
                return await self._create_on(node, spec, wish)
            except (InvalidInput, CapabilityMissing):
                raise
            except AssayError as error:
                failures[node.name] = error
        raise next(reversed(failures.values()), None) or self._none_takes(members)

    def _choose(self, members: Members, but_for: Collection[str]) -> Node | None:
        able = [
            node for node in members.here if node.name not in but_for and not self._problem(node)
        ]
        now = asyncio.get_running_loop().time()
        name = choose((node.stand for node in able), now)
        return None if name is None else members.get(name)

    async def _create_on(self, node: Node, spec: SandboxSpec, wish: Wish) -> Sandbox:
        try:
            created = await node.create(wish)
        except RootMissing:
            assert wish.root is not None
            await self._sending.send(node, spec.root, wish.root)
            created = await node.create(wish)
        if not self._places.put(created.sandbox, node.name):
            raise DriverError(f"{node.name} says that it has made a sandbox of another node")
        return Sandbox(id=created.sandbox, facts=_facts(node, created))

    def _none_takes(self, members: Members) -> AssayError:
        stands = [node.stand for node in members.here]
        if stands and all(stand.draining or stand.room <= 0 for stand in stands):
            return CapacityExceeded(
                "no node takes more sandboxes: they are full, or their operators empty them;"
                " `assay node list` shows them"
            )
        problems = [problem for node in members.all if (problem := self._problem(node))]
        why = members.problem or "; ".join(problems[:3]) or "no nodes are named"
        return DriverUnavailable(f"no node can be used: {why}")

    # --- finding ---------------------------------------------------------------------------------

    async def list(self) -> Sequence[str]:
        """The ids of this server's sandboxes on all nodes; of one that does not answer, those that
        were seen there last.
        """
        members = await self._members()
        await asyncio.gather(*(self._list_on(node) for node in members.here))
        return sorted(each for node in members.all for each in self._places.of(node.name))

    async def _list_on(self, node: Node) -> None:
        before = frozenset(self._places.of(node.name))
        with contextlib.suppress(AssayError):  # nothing is known then, and what was stays true
            listed = await node.ask(lambda number: Listing(number=number), Listed)
            self._places.listed(node.name, before, listed.sandboxes)

    async def _find(self, sandbox_id: str) -> Node | None:
        """The node that a sandbox is on; None: there is no such sandbox.

        Raises DriverUnavailable while it may be on a node that does not answer.
        """
        members = await self._members()
        if (name := self._places.node_of(sandbox_id)) is not None:
            return members.get(name)
        # (Who comes back meanwhile was not asked.)
        silent = sorted((node for node in members.all if not node.is_here), key=self._is_lost)
        found = await asyncio.gather(*(self._is_on(node, sandbox_id) for node in members.here))
        if any(found):
            return next(node for node in found if node is not None)
        if silent and not self._is_lost(silent[0]):
            raise DriverUnavailable(silent[0].problem or f"{silent[0].name} does not answer")
        if members.problem:
            raise DriverUnavailable(members.problem)
        # Nowhere else: whichever of these it is on, it is lost.
        return next(iter(silent), None)

    async def _is_on(self, node: Node, sandbox_id: str) -> Node | None:
        state = await self._examine_on(node, sandbox_id)
        there = state is not None and self._places.put(sandbox_id, node.name)
        return node if there else None

    async def _examine_on(self, node: Node, sandbox_id: str) -> SandboxState | None:
        examined = await node.ask(
            lambda number: Examine(number=number, sandbox=sandbox_id), Examined
        )
        # Whether it is lost is not the node's to say.
        return None if examined.state is None else replace(examined.state, lost="")

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What its node knows of a sandbox, or None when there is no such sandbox.

        Raises DriverUnavailable while its node does not answer; after 12 s it counts as lost.
        """
        if not _can_be_id(sandbox_id) or (node := await self._find(sandbox_id)) is None:
            return None
        if self._is_lost(node):
            return SandboxState(running=False, lost=f"the node {node.name} does not answer")
        return await self._examine_on(node, sandbox_id)

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent. Raises SandboxGone when there is none."""
        node = await self._find(sandbox_id) if _can_be_id(sandbox_id) else None
        if node is None:
            raise SandboxGone(f"there is no sandbox {sandbox_id}")
        if self._is_lost(node):
            raise SandboxGone(f"the sandbox is lost: the node {node.name} does not answer")
        return await node.connect(sandbox_id)

    def _is_lost(self, node: Node) -> bool:
        now = asyncio.get_running_loop().time()
        since = node.since if node.heard_at is None else node.heard_at
        return not node.is_here and now - since > LOST_SECONDS

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox and remove all that belongs to it. An unknown id is no error.

        Raises DriverUnavailable while its node does not answer.
        """
        if not _can_be_id(sandbox_id) or (node := await self._find(sandbox_id)) is None:
            return
        await node.destroy(sandbox_id)
        self._places.remove(sandbox_id)

    async def aclose(self) -> None:
        """Let go of the connections. Sandboxes go on."""
        await self._sending.aclose()
        if self._made is not None:
            await self._made.aclose()


def _can_be_id(text: str) -> bool:
    return 0 < len(text) <= 64 and text.isascii() and text.replace("-", "0").isalnum()


def _facts(node: Node, created: Created) -> dict[str, str]:
    """What the node says, for operators to read; numbers of processes are its own kernel's."""
    facts = {**created.facts, "node": node.name}
    here = node.facts is not None and node.facts.machine == machine_now()
    if not here and "process" in facts:
        facts["process of the node"] = facts.pop("process")
    return facts
