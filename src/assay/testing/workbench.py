"""What cases work with: sandboxes of one driver with low limits, and the probe in them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from assay.agent.client import Agent
from assay.agent.execution import Completed, Execution
from assay.agent.files import write_file
from assay.agent.native import program
from assay.agent.session import Session, open_session
from assay.domain.command import WORKSPACE, Command
from assay.domain.facts import Facts
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import Outcome, OutcomeKind
from assay.driver.port import (
    ByteStream,
    Capabilities,
    Driver,
    Health,
    RootFilesystem,
    Sandbox,
    SandboxSpec,
    SandboxState,
    Secret,
)
from assay.testing.case import Failure, expect
from assay.testing.leaks import Traces
from assay.testing.pace import slowness

T = TypeVar("T")
OWN_KERNELS_PATIENCE: Final = 4.0
PROBE: Final = f"{WORKSPACE}/probe"
LOW: Final = SandboxLimits(
    memory_bytes=64 * MIB, processes=48, cpus=1.0, disk_bytes=8 * MIB, inodes=1000
)
"""So low that hostile programs reach them in no time."""
QUICK: Final = ExecutionLimits(
    wall_seconds=10.0, cpu_seconds=10.0, output_bytes=64 * MIB, open_files=128
)
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": f"/usr/bin:/bin:{WORKSPACE}", "HOME": WORKSPACE}
_AMPLE_SECONDS: Final = 5.0
_SECONDS_UNTIL_FREED: Final = 1.0
_SHORT: Final = {
    "wall": "wall_seconds",
    "cpu": "cpu_seconds",
    "output": "output_bytes",
    "files": "open_files",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """A program that runs: its command and its execution, both needed to conclude."""

    session: Session
    command: Command
    execution: Execution

    async def conclude(self) -> tuple[Facts, Outcome]:
        """Wait for its end."""
        return await self.session.conclude(self.execution, self.command)

    async def read(self, wanted: bytes, *, seconds: float = 10.0) -> bytes:
        """Read output up to and with `wanted`. Raises Failure when it does not come in time."""
        got = b""
        try:
            async with asyncio.timeout(seconds):
                async for chunk in self.execution.output():
                    got += chunk.data
                    if wanted in got:
                        return got
        except TimeoutError:
            raise Failure(f"{wanted!r} did not come within {seconds} s; {got!r} did") from None
        raise Failure(f"the program ended with {got!r} before it said {wanted!r}")

    async def discard(self) -> int:
        """Read output to its end; return how many bytes there were."""
        return sum([len(chunk.data) async for chunk in self.execution.output()])


class RecordingDriver:
    """The driver under test; remembers the sandboxes that it made, to look for their traces."""

    def __init__(self, driver: Driver) -> None:
        self.inner = driver
        self.created: list[Sandbox] = []
        self.traces = Traces()

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    async def probe(self) -> Health:
        return await self.inner.probe()

    async def create(self, spec: SandboxSpec) -> Sandbox:
        sandbox = await self.inner.create(spec)
        self.created.append(sandbox)
        self.traces.note(sandbox)
        return sandbox

    async def connect(self, sandbox_id: str) -> ByteStream:
        return await self.inner.connect(sandbox_id)

    async def list(self) -> Sequence[str]:
        return await self.inner.list()

    async def examine(self, sandbox_id: str) -> SandboxState | None:
        return await self.inner.examine(sandbox_id)

    async def destroy(self, sandbox_id: str) -> None:
        self.traces.note_end(sandbox_id)
        await self.inner.destroy(sandbox_id)

    async def aclose(self) -> None:
        await self.inner.aclose()


class Workbench:
    """Sandboxes for one case after the other; `closing` destroys what a case has opened."""

    def __init__(self, driver: Driver, root: RootFilesystem) -> None:
        self.driver = RecordingDriver(driver)
        self.root = root
        self.capabilities = driver.capabilities
        self.slowness = slowness()
        self.kept: set[str] = set()
        """Sandboxes that outlive their case on purpose."""
        self._shared: Session | None = None
        self._case = contextlib.AsyncExitStack()
        self._lasting = contextlib.AsyncExitStack()
        self._probe = program("probe").read_bytes()
        self._numbers = itertools.count()

    def patient(self, seconds: float) -> float:
        """A time that is meant for an ordinary machine and its kernel, on this one.

        A kernel that is a program itself takes turns of its own at every call and every wake-up.
        """
        own = OWN_KERNELS_PATIENCE if self.capabilities.own_kernel else 1.0
        return seconds * self.slowness * own

    # --- sandboxes ---------------------------------------------------------------------------

    def spec(self, *, unclaimed_seconds: int = 900, **limits: Any) -> SandboxSpec:
        """The wish for a sandbox with low limits, but for those named."""
        return SandboxSpec(
            root=self.root,
            secret=Secret(os.urandom(32)),
            limits=replace(LOW, **limits),
            unclaimed_seconds=unclaimed_seconds,
            labels={"suite": str(next(self._numbers))},
        )

    async def session(self, *, epoch: int = 1, **options: Any) -> Session:
        """Make a sandbox with the probe in it; it is destroyed at the end of the case."""
        return await self.session_of(self.spec(**options), epoch=epoch)

    async def session_of(self, spec: SandboxSpec, *, epoch: int = 1) -> Session:
        """The same, for a wish that the case has to know."""
        session = await self._case.enter_async_context(open_session(self.driver, spec, epoch=epoch))
        await self.install(session, spec.root.working_folder)
        return session

    async def lasting_session(self, **options: Any) -> Session:
        """Make a sandbox with the probe in it that outlives the case."""
        session = await self._lasting.enter_async_context(
            open_session(self.driver, self.spec(**options))
        )
        self.kept.add(session.sandbox.id)
        await self.install(session)
        return session

    async def shared(self) -> Session:
        """The one sandbox for cases that leave it as it was."""
        if self._shared is None or self._shared.agent.lost or self._shared.agent.closed:
            self._shared = await self.lasting_session()
        return self._shared

    async def install(self, session: Session, folder: str = WORKSPACE) -> None:
        """Put the probe into a sandbox's working folder."""
        await write_file(session.agent, folder, "probe", self._probe, mode=0o755)

    async def connect(self, session: Session, spec: SandboxSpec, *, epoch: int = 1) -> Session:
        """Connect once more to the sandbox of a session, as a restarted server would."""
        agent = await self.connect_agent(session.sandbox.id, spec.secret, epoch=epoch)
        return Session(self.driver, session.sandbox, agent)

    async def connect_agent(self, sandbox_id: str, secret: Secret, *, epoch: int = 1) -> Agent:
        """Open a connection that is closed at the end of the case."""
        stream = await self.driver.connect(sandbox_id)
        agent = await Agent.connect(stream, secret, epoch=epoch)
        self._case.push_async_callback(agent.aclose)
        return agent

    # --- programs ----------------------------------------------------------------------------

    def command(self, *argv: str, **options: Any) -> Command:
        """The probe with these arguments.

        `wall`, `cpu`, `output` and `files` are limits of the execution (QUICK unless given);
        everything else is a field of Command. Times of five seconds and more are there so that
        nothing hangs: on a slow machine they are longer.
        """
        given = {long: options.pop(short) for short, long in _SHORT.items() if short in options}
        limits = replace(QUICK, **given)
        options.setdefault("environment", ENVIRONMENT)
        return Command(argv=(PROBE, *argv), limits=self._patiently(limits), **options)

    def _patiently(self, limits: ExecutionLimits) -> ExecutionLimits:
        def longer(seconds: float | None) -> float | None:
            if seconds is None or seconds < _AMPLE_SECONDS:
                return seconds
            return self.patient(seconds)

        return replace(
            limits,
            wall_seconds=longer(limits.wall_seconds),
            cpu_seconds=longer(limits.cpu_seconds),
        )

    async def run(
        self, session: Session, *argv: str, stdin: bytes = b"", **options: Any
    ) -> Completed:
        """Run the probe to its end."""
        return await session.run(self.command(*argv, **options), stdin)

    async def said(self, session: Session, *argv: str, **options: Any) -> bytes:
        """Run the probe, which must exit with 0 and keep silent on standard error.

        Kernels free what the dead have left, such as page tables, a moment later. Until then there
        may be no memory for the next program, so one that lacks it is tried again for a second.
        """
        deadline = time.monotonic() + self.patient(_SECONDS_UNTIL_FREED)
        completed = await self.run(session, *argv, **options)
        while completed.outcome.kind is OutcomeKind.OUT_OF_MEMORY and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            completed = await self.run(session, *argv, **options)
        expect(
            completed.outcome.success and not completed.stderr,
            f"`probe {' '.join(argv)}` ended with {completed.outcome}"
            f" {completed.facts.start_error or ''} and said {completed.stderr[:300]!r}",
        )
        return completed.stdout

    async def start(self, session: Session, *argv: str, **options: Any) -> Started:
        """Start the probe."""
        command = self.command(*argv, **options)
        execution = await session.start(command)
        return Started(session=session, command=command, execution=execution)

    def background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something meanwhile; what is not done at the end of the case is cancelled."""
        task = asyncio.ensure_future(work)

        async def stop() -> None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # whoever awaited it has it; nobody has to

        self._case.push_async_callback(stop)
        return task

    async def size_of(self, session: Session, path: str) -> int:
        """The size of a file in the sandbox, or -1 when there is none."""
        completed = await self.run(session, "stat", path)
        if not completed.outcome.success:
            return -1
        return int(completed.stdout.rpartition(b"size=")[2])

    # --- the end -----------------------------------------------------------------------------

    async def close_case(self) -> None:
        """Destroy what the case has opened."""
        stack, self._case = self._case, contextlib.AsyncExitStack()
        await stack.aclose()

    async def forget_shared(self) -> None:
        """A case failed: whatever it did to the shared sandbox must not make others fail."""
        if self._shared is not None:
            shared, self._shared = self._shared, None
            await shared.aclose()

    async def aclose(self) -> None:
        """Destroy everything."""
        await self.close_case()
        await self._lasting.aclose()


@contextlib.asynccontextmanager
async def open_workbench(driver: Driver, root: RootFilesystem) -> AsyncIterator[Workbench]:
    """A workbench that leaves nothing behind."""
    bench = Workbench(driver, root)
    try:
        yield bench
    finally:
        await bench.aclose()
