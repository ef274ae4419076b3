"""A connection whose other side the test itself plays, and sandboxes of the fake driver."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from assay.agent import protocol as wire
from assay.agent.client import Agent
from assay.agent.heartbeat import Timings
from assay.agent.messages import KnownExecution, Ready, exit_payload
from assay.agent.session import Session, open_session
from assay.domain.facts import Facts
from assay.driver.port import ByteStream, RootFilesystem, SandboxSpec, Secret
from assay.driver.stream import SocketStream
from assay.drivers.fake import FakeDriver, Program
from assay.drivers.fake.stream import MemoryStream, stream_pair

SECRET = Secret(bytes(range(32)))


class Peer:
    """The agent's side of a connection, played by hand."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.frames: list[wire.Frame] = []
        self._decoder = wire.FrameDecoder(wire.TO_AGENT)

    async def send(self, *frames: bytes) -> None:
        await self.stream.write(b"".join(frames))

    async def receive(self) -> wire.Frame:
        while not self.frames:
            data = await self.stream.read(262_144)
            assert data, "the host closed the connection"
            self.frames += self._decoder.feed(data)
        return self.frames.pop(0)

    async def expect(self, kind: int) -> wire.Frame:
        frame = await self.receive()
        assert frame.type == kind, f"type {frame.type} came instead of {kind}"
        return frame

    async def cut(self) -> None:
        """Break the connection, losing what is under way."""
        if isinstance(self.stream, MemoryStream):
            self.stream.cut()
        await self.stream.aclose()

    async def silent(self) -> bool:
        """Whether nothing has come, and nothing is about to."""
        for _ in range(10):
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.02):
                self.frames.insert(0, await self.receive())
        except TimeoutError:
            pass
        return not self.frames

    async def output(self, channel: int, offset: int, data: bytes, stream: int = 1) -> None:
        await self.send(wire.output_frame(channel, offset, stream, data))

    async def exit(self, channel: int, facts: Facts | None = None) -> None:
        facts = facts or Facts(exit_code=0)
        await self.send(wire.frame(channel, wire.EXIT, exit_payload(facts)))

    async def window(self, channel: int, offset: int, *, closed: bool = False) -> None:
        await self.send(wire.window_frame(channel, offset, closed=closed))


Link = Callable[..., Awaitable[tuple[Agent, Peer]]]


def socket_pair(capacity: int) -> tuple[SocketStream, SocketStream]:
    """Two streams that hold about so many bytes under way; what exactly is the kernel's affair."""
    ours, theirs = socket.socketpair()
    for each in (ours, theirs):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, capacity)
    return SocketStream(ours), SocketStream(theirs)


@pytest.fixture(params=[stream_pair, socket_pair], ids=["memory", "socket"])
async def link(request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    """Connect an agent's client to a peer: by a task that reads, and by a socket's own calls."""
    async with AsyncExitStack() as stack:

        async def connect(
            *,
            known: tuple[KnownExecution, ...] = (),
            timings: Timings | None = None,
            own_kernel: bool = False,
            capacity: int = 212_992,
            exact: bool = False,
        ) -> tuple[Agent, Peer]:
            pair = stream_pair if exact else request.param
            ours, theirs = pair(capacity)
            peer = Peer(theirs)
            ready = Ready(epoch=1, release="0.1", capabilities=frozenset({"x"}), known=known)
            await peer.send(wire.frame(0, wire.READY, ready.encode()))
            agent = await Agent.connect(ours, SECRET, timings=timings, own_kernel=own_kernel)
            stack.push_async_callback(theirs.aclose)
            stack.push_async_callback(agent.aclose)
            await peer.expect(wire.HELLO)
            return agent, peer

        yield connect


def spec(**changes: object) -> SandboxSpec:
    root = RootFilesystem(digest="none", path=Path("/"))
    return SandboxSpec(**{"root": root, "secret": SECRET, **changes})  # type: ignore[arg-type]


Sandboxes = Callable[..., Awaitable[Session]]


@pytest.fixture
async def session() -> AsyncIterator[Sandboxes]:
    """Open sessions with sandboxes of a fake driver."""
    async with AsyncExitStack() as stack:

        async def make(driver: FakeDriver | None = None, **programs: Program) -> Session:
            driver = driver or FakeDriver(programs)
            return await stack.enter_async_context(open_session(driver, spec()))

        yield make


@pytest.fixture
def new_spec() -> Callable[..., SandboxSpec]:
    return spec


@pytest.fixture
def secret() -> Secret:
    return SECRET
