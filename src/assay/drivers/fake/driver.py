"""A driver whose sandboxes live in memory: no processes, no files, and failures on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from assay.domain.errors import AssayError, ConnectionLost, DriverError, SandboxGone
from assay.driver.guard import require_devices
from assay.driver.port import (
    ByteStream,
    Capabilities,
    Cleanup,
    Health,
    Problem,
    Sandbox,
    SandboxSpec,
    SandboxState,
)
from assay.drivers.fake.agent import FakeAgent
from assay.drivers.fake.probe import probe
from assay.drivers.fake.process import Program
from assay.drivers.fake.sandbox import NATIVE_PROGRAM, FakeSandbox

DEFAULT_CAPABILITIES = Capabilities(cleanup=Cleanup.CGROUP_KILL, interpreters=False)


@dataclass(kw_only=True)
class CreateFaults:
    """What goes wrong when sandboxes are made; change it at any time."""

    error: AssayError | None = None
    """Raised by `create`, after `seconds`."""
    seconds: float = 0.0
    """How long making one takes."""
    hangs: bool = False
    """It never comes to an end."""


@dataclass(kw_only=True)
class _Place:
    """A sandbox on the machine."""

    sandbox: FakeSandbox
    agent: FakeAgent
    labels: Mapping[str, str]


@dataclass(kw_only=True)
class FakeMachine:
    """Where fake sandboxes are; several drivers on one of them stand for servers in a row."""

    places: dict[str, _Place] = field(default_factory=dict)
    made: int = 0


class FakeDriver:
    """A verified fake: it passes the conformance suite that real drivers pass.

    Its sandboxes' agents speak the real protocol over streams in memory; their programs are
    coroutine functions, `programs` by name (`assay.drivers.fake.process.Process` is what one
    gets). Time is the event loop's, so a loop with virtual time makes it a simulation.
    """

    def __init__(
        self,
        programs: Mapping[str, Program] | None = None,
        *,
        machine: FakeMachine | None = None,
        capabilities: Capabilities = DEFAULT_CAPABILITIES,
        health: Health | None = None,
    ) -> None:
        self.create_faults = CreateFaults()
        self._programs = {NATIVE_PROGRAM: probe, **(programs or {})}
        self._machine = machine or FakeMachine()
        self._capabilities = capabilities
        self._health = health or Health(works=True, version="in memory")

    @property
    def name(self) -> str:
        """Always "fake"."""
        return "fake"

    @property
    def capabilities(self) -> Capabilities:
        """What was given, or everything that local drivers offer."""
        return self._capabilities

    async def probe(self) -> Health:
        """Say what was given, or that it works."""
        if self.create_faults.error is not None:
            problem = Problem(summary=self.create_faults.error.message)
            return replace(self._health, works=False, problems=(problem,))
        return self._health

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Make a sandbox, or fail as `create_faults` says."""
        faults = self.create_faults
        if faults.hangs:
            await asyncio.Event().wait()
        if faults.seconds:
            await asyncio.sleep(faults.seconds)
        if faults.error is not None:
            raise faults.error
        require_devices(spec.devices, self.name, self.capabilities)
        if not spec.root.path.is_dir():
            raise DriverError(f"the root file system {spec.root.path} is not there")
        self._machine.made += 1
        sandbox_id = f"assay-fake-{self._machine.made:06}"
        sandbox = FakeSandbox(spec, self._programs)
        agent = FakeAgent(sandbox, self._agent_capabilities())
        self._machine.places[sandbox_id] = _Place(
            sandbox=sandbox, agent=agent, labels=dict(spec.labels)
        )
        return Sandbox(id=sandbox_id, facts={"technology": "none"})

    def _agent_capabilities(self) -> frozenset[str]:
        names = {self._capabilities.cleanup.value, "stop-walk"}
        if self._capabilities.oom_facts:
            names.add("cgroup-facts")
        if self._capabilities.privilege_separation:
            names.add("privileges")
        return frozenset(names)

    async def connect(self, sandbox_id: str) -> ByteStream:
        """Open a byte stream to the agent."""
        try:
            return self.agent(sandbox_id).connect()
        except ConnectionLost as error:
            raise SandboxGone(f"the agent of {sandbox_id} has ended") from error

    async def list(self) -> Sequence[str]:
        """The ids of all sandboxes of the machine."""
        return list(self._machine.places)

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        """What the machine knows of a sandbox."""
        place = self._machine.places.get(sandbox_id)
        if place is None:
            return None
        sandbox = place.sandbox
        return SandboxState(
            running=place.agent.alive,
            oom_kills=sandbox.oom_kills,
            cpu_ns=round(sandbox.cpu_seconds * 1e9),
            memory_bytes=sandbox.memory_bytes,
        )

    async def destroy(self, sandbox_id: str) -> None:
        """End a sandbox."""
        place = self._machine.places.pop(sandbox_id, None)
        if place is not None:
            place.agent.die()
            await place.sandbox.wait_until_empty()

    async def aclose(self) -> None:
        """Nothing to let go of; sandboxes go on."""

    # --- what can go wrong ---------------------------------------------------------------------

    def agent(self, sandbox_id: str) -> FakeAgent:
        """The agent of a sandbox, to have it fail. Raises SandboxGone."""
        place = self._machine.places.get(sandbox_id)
        if place is None:
            raise SandboxGone(f"there is no sandbox {sandbox_id}")
        return place.agent

    def sandbox(self, sandbox_id: str) -> FakeSandbox:
        """The inside of a sandbox, to look at or to change. Raises SandboxGone."""
        return self.agent(sandbox_id).sandbox

    def end_from_outside(self, sandbox_id: str) -> None:
        """Have a sandbox vanish, as if an operator had removed it."""
        agent = self.agent(sandbox_id)
        del self._machine.places[sandbox_id]
        agent.die()
