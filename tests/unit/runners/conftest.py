"""A server's runners over fake sandboxes and a real database, and servers that follow it."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from assay.agent.session import Session, connect
from assay.domain.errors import UnknownEnvironment
from assay.domain.limits import ExecutionLimits
from assay.driver.port import Driver, RootFilesystem, Sandbox, Secret
from assay.drivers.fake import FakeDriver, Process, Program
from assay.drivers.fake.driver import FakeMachine
from assay.drivers.fake.stream import MemoryStream
from assay.environments import Blueprint, ServedEnvironment
from assay.runners import Ended, Event, InputWindow, Moved, Output, Replaced
from assay.runners.attachment import Attachment
from assay.runners.events import RunnersEvent
from assay.runners.runner import Runner
from assay.runners.runners import Runners
from assay.storage.database import Storage
from assay.storage.records import SandboxRecord


@dataclass(frozen=True)
class Claim:
    session: Session
    blueprint: Blueprint
    record: SandboxRecord


class Stock:
    """Makes each sandbox when it is asked for: what a pool of none is."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self.discarded: list[str] = []

    async def claim(
        self, environment: str, *, owner: str = "", deadline_seconds: float = 10.0
    ) -> Claim:
        server = self._server
        blueprint = await server.resolve(environment)
        spec = blueprint.spec(Secret(secrets.token_bytes(32)))
        sandbox = await server.driver.create(spec)
        record = SandboxRecord(
            id=sandbox.id, driver=server.driver.name, environment=environment,
            version=blueprint.version, secret=spec.secret, created_at=server.storage.clock(),
            taken=True,
        )  # fmt: skip
        await server.storage.add_sandbox(record)
        agent = await connect(server.driver, sandbox.id, spec.secret, epoch=server.epoch())
        session = Session(server.driver, Sandbox(id=sandbox.id), agent)
        return Claim(session=session, blueprint=blueprint, record=record)

    async def discard(self, claimed: Session | str) -> None:
        if isinstance(claimed, str):
            await self._server.driver.destroy(claimed)
            self.discarded.append(claimed)
        else:
            await claimed.aclose()
            self.discarded.append(claimed.sandbox.id)
        await self._server.storage.remove_sandbox(self.discarded[-1])


@dataclass
class Server:
    """All that lives as long as one server does."""

    driver: Driver
    storage: Storage
    environments: Mapping[str, ServedEnvironment]
    count: int = 1
    events: list[RunnersEvent] = field(default_factory=list)
    connections: int = 0
    options: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stock = Stock(self)
        self.runners = Runners(
            self.stock,
            self.storage,
            self.driver,
            epochs=self.epoch,
            resolve=self.resolve,
            on_event=self.events.append,
            **self.options,
        )

    def epoch(self) -> int:
        self.connections += 1
        return (self.count << 24) + self.connections

    async def resolve(self, name: str) -> Blueprint:
        if name not in self.environments:
            raise UnknownEnvironment(f"no environment {name}")
        root = RootFilesystem(digest="none", path=Path("/"))
        return Blueprint(environment=self.environments[name], root=root)

    async def adopt_all(self) -> None:
        records = {record.id: record for record in await self.storage.sandboxes()}
        for lease in await self.storage.leases():
            rows = await self.storage.executions(lease.runner_id)
            await self.runners.adopt(lease, records[lease.sandbox_id], rows)
        self.runners.start()

    def told(self, kind: type) -> list:
        return [event for event in self.events if isinstance(event, kind)]

    async def stop(self, *, killed: bool = False) -> None:
        """End as a server does; `killed`: as after kill -9, with nothing said to anybody."""
        if killed:
            for runner in self.runners.all():
                runner.link.close()
        await self.runners.aclose()
        await self.storage.aclose()


NO_LIMITS = ExecutionLimits(wall_seconds=30, cpu_seconds=None, output_bytes=None)


async def say(process: Process) -> int:
    """Write the arguments to standard output, one a line; "err:…" to standard error."""
    for argument in process.argv[1:]:
        text = argument.removeprefix("err:")
        await process.write(text.encode() + b"\n", 2 if text != argument else 1)
    return 0


async def echo(process: Process) -> int:
    """Copy standard input to standard output until its end."""
    while data := await process.read():
        await process.write(data)
    return 0


async def count(process: Process) -> int:
    """Write 0, 1, 2, … so many, waiting a little between."""
    for number in range(int(process.argv[1])):
        await process.write(f"{number}\n".encode())
        await process.sleep(float(process.argv[2]))
    return 5


async def flood(process: Process) -> int:
    """Write so many bytes as fast as they are taken."""
    left = int(process.argv[1])
    while left > 0:
        await process.write(b"x" * min(left, 10_000))
        left -= 10_000
    return 0


async def wait(process: Process) -> int:
    """Do nothing for so long."""
    await process.sleep(float(process.argv[1]))
    return 0


async def serve(process: Process) -> int:
    """Answer each connection to port 8080 with what it sends, in capitals."""

    async def answer(_: Process, stream: MemoryStream) -> None:
        while data := await stream.read(65_536):
            await stream.write(data.upper())

    process.listen(8080, answer)
    await process.sleep(30)
    return 0


PROGRAMS: Mapping[str, Program] = {
    "say": say, "echo": echo, "count": count, "flood": flood, "wait": wait,
    "serve": serve,
}  # fmt: skip


def environment(name: str, **changes: object) -> ServedEnvironment:
    made = ServedEnvironment(
        name=name,
        image="host",
        execution=NO_LIMITS,
        ceiling=ExecutionLimits(
            wall_seconds=60, cpu_seconds=None, output_bytes=None, open_files=None
        ),
    )
    return replace(made, **changes)


Start = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a server on the machine of this test; one after the other, they are each other's."""
    async with AsyncExitStack() as stack:
        machine = FakeMachine()
        servers: list[Server] = []

        async def start_one(
            *, environments: Mapping[str, ServedEnvironment] | None = None, **options: object
        ) -> Server:
            storage = await Storage.open(f"sqlite:///{tmp_path}/assay.db")
            server = Server(
                FakeDriver(PROGRAMS, machine=machine),
                storage,
                environments or {"bash": environment("bash")},
                count=len(servers) + 1,
                options=options,
            )
            servers.append(server)
            stack.push_async_callback(server.stop)
            return server

        yield start_one
        driver = FakeDriver(machine=machine)
        for server in servers:
            await server.stop()
        for sandbox_id in await driver.list():
            await driver.destroy(sandbox_id)


@pytest.fixture
async def server(start: Start) -> Server:
    return await start()


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until it holds."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not come to that")


async def begin(runner: Runner, *argv: str, mode: str = "assay.v1", **how: object) -> Attachment:
    """Prepare a command and follow it."""
    return await runner.follow(await runner.prepare(runner.command(argv, **how), mode=mode))


@dataclass
class Taken:
    """What came of an execution."""

    stdout: bytes = b""
    stderr: bytes = b""
    offset: int = 0
    ended: Ended | None = None
    replaced: bool = False
    windows: list[InputWindow] = field(default_factory=list)

    @property
    def lost(self) -> str | None:
        assert self.ended is not None
        return self.ended.facts.lost

    @property
    def code(self) -> int | None:
        assert self.ended is not None
        return self.ended.outcome.code

    def take(self, event: Event) -> None:
        if isinstance(event, Output):
            assert event.offset == self.offset
            self.offset += len(event.data)
            if event.stream == "stdout":
                self.stdout += event.data
            else:
                self.stderr += event.data
        elif isinstance(event, Ended):
            assert event.outcome.kind == "lost" or event.offset == self.offset
            self.ended = event
        elif isinstance(event, Replaced | Moved):
            self.replaced = True
        else:
            self.windows.append(event)


async def take(
    attachment: Attachment,
    taken: Taken | None = None,
    *,
    acknowledge: bool = True,
    until: Callable[[Taken], bool] | None = None,
) -> Taken:
    """Take events to the end, or until there is enough."""
    taken = taken or Taken(offset=attachment.started_offset)
    if until is not None and until(taken):
        return taken
    async with asyncio.timeout(20):
        async for event in attachment.events():
            taken.take(event)
            if acknowledge and isinstance(event, Output):
                attachment.acknowledge(taken.offset)
            if until is not None and until(taken):
                return taken
    return taken
