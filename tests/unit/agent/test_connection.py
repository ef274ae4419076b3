"""Opening a connection, keeping it, and every way of losing it."""

import asyncio
import socket
import time

import pytest

from assay.agent import protocol as wire
from assay.agent.client import Agent
from assay.agent.heartbeat import Heartbeat, Timings
from assay.agent.messages import Hello, KnownExecution, Ready, refusal
from assay.domain.command import Command
from assay.domain.errors import (
    AgentRefused,
    AssayError,
    ConnectionLost,
    ExecutionRefused,
    InvalidInput,
    ProtocolViolation,
)
from assay.driver.port import Secret
from assay.driver.stream import SocketStream
from assay.drivers.fake import run_in_virtual_time
from assay.drivers.fake.stream import MemoryStream, stream_pair

COMMAND = Command(argv=("x",))


async def connect_to(answer: bytes, *, close: bool = False) -> Agent:
    ours, theirs = stream_pair()
    await theirs.write(answer)
    if close:
        await theirs.aclose()
    return await Agent.connect(ours, Secret(bytes(32)), timings=Timings(hello=0.05))


def ready(**changes: object) -> bytes:
    return wire.frame(0, wire.READY, Ready(**{"epoch": 1, **changes}).encode())  # type: ignore[arg-type]


async def test_hello_carries_secret_and_epoch(link) -> None:
    ours, theirs = stream_pair()
    await theirs.write(ready(epoch=7))
    agent = await Agent.connect(ours, Secret(b"s" * 32), epoch=7)
    [frame] = wire.FrameDecoder(wire.TO_AGENT).feed(await theirs.read(1000))
    assert Hello.decode(frame.payload) == Hello(secret=b"s" * 32, epoch=7)
    await agent.aclose()


async def test_ready_says_what_the_agent_is_and_knows(link) -> None:
    known = KnownExecution(number=4, ended=False, output_start=10, output_end=20, stdin_received=3)
    agent, _ = await link(known=(known,))
    assert agent.release == "0.1"
    assert agent.capabilities == {"x"}
    assert agent.known == (known,)
    assert (await agent.start(COMMAND)).number == 5


@pytest.mark.parametrize("code", ["secret", "epoch", "version", "protocol"])
async def test_a_refusal_is_an_error_of_its_own(code: str) -> None:
    with pytest.raises(AgentRefused) as refused:
        await connect_to(wire.frame(0, wire.REFUSED, refusal(code, "no")))
    assert refused.value.detail == code


async def test_another_version_is_refused() -> None:
    with pytest.raises(AgentRefused, match="version 2"):
        await connect_to(ready(version=2))


@pytest.mark.parametrize(
    "answer",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        wire.frame(0, wire.PING),
        wire.frame(1, wire.WINDOW, bytes(9)),
        wire.frame(0, wire.READY),
        ready(epoch=2),
        ready() + ready(),
        ready() + wire.frame(9, wire.OUTPUT, bytes(10)),
    ],
    ids=range(7),
)
async def test_an_answer_that_is_not_the_protocol_is_a_violation(answer: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        await connect_to(answer)


@pytest.mark.parametrize("close", [True, False])
async def test_no_answer_is_a_lost_connection(close: bool) -> None:
    with pytest.raises(ConnectionLost):
        await connect_to(b"", close=close)


async def test_a_cancelled_connect_closes_its_stream() -> None:
    ours, theirs = stream_pair()
    task = asyncio.create_task(Agent.connect(ours, Secret(bytes(32))))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()
    await theirs.read(1000)
    assert await theirs.read(1) == b""


async def test_ping_measures_and_answers_of_the_newest_count_for_all(link) -> None:
    agent, peer = await link()
    pings = [asyncio.create_task(agent.ping()) for _ in range(3)]
    payloads = [(await peer.expect(wire.PING)).payload for _ in range(3)]
    await peer.send(wire.frame(0, wire.PONG, payloads[-1]))
    assert all(seconds >= 0 for seconds in await asyncio.gather(*pings))


async def test_the_agents_ping_is_answered_with_its_bytes(link) -> None:
    _, peer = await link()
    await peer.send(wire.frame(0, wire.PING, b"abc"))
    assert (await peer.expect(wire.PONG)).payload == b"abc"


@pytest.mark.parametrize(
    "bad",
    [
        wire.frame(0, wire.PING, bytes(65)),
        wire.frame(0, wire.PONG, (1).to_bytes(8, "little")),
        wire.frame(0, wire.PONG, b"x"),
        wire.frame(0, wire.READY, b""),
        wire.frame(3, wire.EXIT, wire.number(32, 0)),
        wire.frame(3, wire.WINDOW, bytes(9)),
        wire.frame(3, wire.FAILED, b""),
        wire.frame(0, wire.REFUSED, refusal("protocol", "you did")),
    ],
    ids=range(8),
)
async def test_frames_out_of_place_are_violations(link, bad: bytes) -> None:
    agent, peer = await link()
    execution = await agent.start(COMMAND)
    await peer.expect(wire.EXEC)
    await peer.send(bad)
    with pytest.raises(ProtocolViolation):
        await execution.wait()
    assert isinstance(agent.lost, ProtocolViolation)
    assert await peer.stream.read(1) == b""


async def test_being_replaced_by_another_host_is_a_lost_connection(link) -> None:
    agent, peer = await link()
    execution = await agent.start(COMMAND)
    await peer.send(wire.frame(0, wire.REFUSED, refusal("epoch", "a newer host has come")))
    with pytest.raises(ConnectionLost, match="newer host"):
        await execution.wait()


async def test_everybody_gets_an_error_of_his_own_when_the_connection_ends(link) -> None:
    agent, peer = await link()
    executions = [await agent.start(COMMAND) for _ in range(3)]
    waiting = [asyncio.create_task(execution.wait()) for execution in executions]
    waiting.append(asyncio.create_task(agent.ping()))
    await asyncio.sleep(0)
    await peer.stream.aclose()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [ConnectionLost] * 4
    assert len({id(error) for error in errors}) == 4
    with pytest.raises(ConnectionLost):
        await agent.start(COMMAND)
    assert agent.lost is not None
    assert not agent.closed


async def test_closing_ends_what_waits_and_may_be_repeated(link) -> None:
    agent, _ = await link()
    execution = await agent.start(COMMAND)
    waiting = asyncio.create_task(execution.wait())
    await asyncio.sleep(0)
    await agent.aclose()
    await agent.aclose()
    with pytest.raises(ConnectionLost, match="closed"):
        await waiting
    assert agent.closed
    assert agent.lost is None
    with pytest.raises(ConnectionLost):
        await agent.ping()


async def test_a_refused_execution_says_so_where_its_end_is_awaited(link) -> None:
    agent, peer = await link()
    refused, other = await agent.start(COMMAND), await agent.start(COMMAND)
    await peer.send(wire.frame(1, wire.FAILED, refusal("busy", "too many")))
    with pytest.raises(ExecutionRefused, match="too many"):
        await refused.wait()
    with pytest.raises(ExecutionRefused):
        await anext(refused.output())
    await peer.exit(2)
    assert (await other.wait()).exit_code == 0


async def test_an_answer_that_crosses_the_end_is_ignored(link) -> None:
    agent, peer = await link()
    execution = await agent.start(COMMAND)
    await peer.exit(1)
    await peer.send(wire.frame(1, wire.FAILED, refusal("channel", "")))
    assert (await execution.wait()).exit_code == 0
    await peer.send(wire.frame(1, wire.FAILED, refusal("channel", "")))
    await peer.send(wire.frame(0, wire.PING))
    assert [(await peer.receive()).type for _ in range(3)] == [
        wire.EXEC,
        wire.RELEASE,
        wire.PONG,
    ]
    assert agent.lost is None


async def test_only_known_executions_can_be_attached_to(link) -> None:
    agent, _ = await link()
    with pytest.raises(InvalidInput):
        await agent.attach(1)


async def test_a_flood_of_pings_that_are_never_read_costs_no_memory(link) -> None:
    agent, peer = await link(capacity=4096)
    ping = wire.frame(0, wire.PING, bytes(64)) * 50
    for _ in range(200):
        await peer.send(ping)
    waiting = agent._outbox
    assert len(waiting._urgent) + len(waiting._bulk) == 0
    assert agent.lost is None


async def test_acknowledgements_that_are_never_read_cost_no_memory(link) -> None:
    agent, peer = await link(capacity=2048)
    execution = await agent.start(COMMAND)
    reading = asyncio.create_task(execution.wait())
    for offset in range(5000):
        await peer.output(1, offset, b"x")
    await asyncio.sleep(0.01)
    assert len(agent._outbox._urgent) == 0
    assert len(agent._outbox._acks) <= 1
    reading.cancel()
    await asyncio.wait((reading,))


async def test_a_flood_leaves_time_for_others(link) -> None:
    """However fast the agent sends, other tasks of the loop get their turn."""
    _, peer = await link(capacity=1 << 24)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    for _ in range(20):
        await peer.send(wire.frame(0, wire.PING, bytes(64)) * 10_000)
        before, started = turns, time.monotonic()
        await asyncio.sleep(0.01)
        assert turns > before
        assert time.monotonic() - started < 2
    task.cancel()
    await asyncio.wait((task,))


def linked() -> tuple[MemoryStream, MemoryStream]:
    ours, theirs = stream_pair()
    theirs.try_write(ready())
    return ours, theirs


def test_a_silent_host_pings_every_twelve_seconds() -> None:
    async def main() -> None:
        ours, theirs = linked()
        agent = await Agent.connect(ours, Secret(bytes(32)))
        await theirs.read(1000)
        loop = asyncio.get_running_loop()
        decoder = wire.FrameDecoder(wire.TO_AGENT)
        times = []
        for _ in range(4):
            frames = list(decoder.feed(await theirs.read(1000)))
            times.append(round(loop.time(), 3))
            assert [frame.type for frame in frames] == [wire.PING]
            await theirs.write(wire.frame(0, wire.PONG, frames[0].payload))
        assert times == [12, 24, 36, 48]
        await agent.aclose()

    run_in_virtual_time(main())


def test_a_host_that_has_just_answered_an_agents_ping_sends_none_itself() -> None:
    async def main() -> None:
        ours, theirs = linked()
        agent = await Agent.connect(ours, Secret(bytes(32)))
        await theirs.read(1000)
        decoder = wire.FrameDecoder(wire.TO_AGENT)
        for _ in range(4):  # as agents do it
            await asyncio.sleep(10)
            await theirs.write(wire.frame(0, wire.PING, bytes(8)))
            (frame,) = decoder.feed(await theirs.read(1000))
            assert frame.type == wire.PONG
        await agent.aclose()

    run_in_virtual_time(main())


def test_a_silent_agent_is_lost_after_thirty_seconds() -> None:
    async def main() -> None:
        ours, _ = linked()
        agent = await Agent.connect(ours, Secret(bytes(32)))
        execution = await agent.start(COMMAND)
        with pytest.raises(ConnectionLost, match="30 seconds"):
            await execution.wait()
        assert asyncio.get_running_loop().time() == pytest.approx(30)
        await agent.aclose()

    run_in_virtual_time(main())


async def test_a_ping_that_cannot_even_be_sent_is_answered_by_the_loss() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(ready())
    agent = await Agent.connect(SocketStream(ours), Secret(bytes(32)))
    theirs.close()  # and nobody here has had a turn to hear of it
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(agent.ping(), 5)
    await agent.aclose()


def test_an_agent_that_takes_nothing_is_not_pinged_over_and_over() -> None:
    async def main() -> None:
        ours, theirs = stream_pair(capacity=1000)
        theirs.try_write(ready())
        agent = await Agent.connect(ours, Secret(bytes(32)))
        execution = await agent.start(Command(argv=("x",), stdin=True))
        await theirs.write(wire.window_frame(1, 2**40, closed=False))
        writing = asyncio.create_task(execution.write(bytes(100_000)))
        for _ in range(4):
            await asyncio.sleep(10)
            await theirs.write(wire.frame(0, wire.PONG, bytes(8)))
        assert agent.lost is None
        assert agent._pings == 0
        with pytest.raises(ConnectionLost, match="30 seconds"):
            await writing
        await agent.aclose()

    run_in_virtual_time(main())


def test_an_agent_that_says_something_is_not_lost() -> None:
    async def main() -> None:
        ours, theirs = linked()
        agent = await Agent.connect(ours, Secret(bytes(32)))
        for _ in range(10):
            await asyncio.sleep(29)
            await theirs.write(wire.frame(0, wire.PING))
        assert agent.lost is None
        await agent.aclose()

    run_in_virtual_time(main())


async def test_a_host_that_stood_still_itself_looks_again_before_it_gives_up(link) -> None:
    agent, peer = await link(timings=Timings(ping=0.05, silence=0.15))
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251  (a suspended machine)
    await peer.send(wire.frame(0, wire.PING))
    await asyncio.sleep(0.05)
    assert agent.lost is None
    async with asyncio.timeout(10):  # each time that it comes late it looks again
        while agent.lost is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Broken:
    """A stream that raises what no stream should."""

    def __init__(self, stream: MemoryStream, *, reads: int, writes: int) -> None:
        self._stream, self._reads, self._writes = stream, reads, writes

    async def read(self, most: int) -> bytes:
        self._reads -= 1
        if self._reads < 0:
            raise ValueError("oops")
        return await self._stream.read(most)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        self._writes -= 1
        if self._writes < 0:
            raise OSError("oops")
        await self._stream.write(data)

    async def aclose(self) -> None:
        await self._stream.aclose()


@pytest.mark.parametrize(("reads", "writes"), [(1, 9), (9, 1)])
async def test_a_stream_that_breaks_its_contract_is_a_broken_connection(
    reads: int, writes: int
) -> None:
    ours, _ = linked()
    agent = await Agent.connect(Broken(ours, reads=reads, writes=writes), Secret(bytes(32)))
    execution = await agent.start(COMMAND)
    with pytest.raises(ConnectionLost) as lost:
        await execution.wait()
    assert "oops" in lost.value.detail
    await agent.aclose()


async def test_nothing_but_our_own_errors_comes_out(link) -> None:
    agent, peer = await link()
    execution = await agent.start(COMMAND)
    await peer.cut()
    with pytest.raises(AssayError):
        await execution.wait()


async def test_who_finds_a_connection_broken_by_a_ping_looks_after_it_no_more() -> None:
    told: list[str] = []
    now = asyncio.get_running_loop().time()

    def ping() -> None:
        told.append("ping")
        heartbeat.stop()

    heartbeat = Heartbeat(
        Timings(ping=0.01, silence=0.05), last_sent=lambda: now, last_heard=lambda: now,
        ping=ping, silent=lambda: told.append("silent"),
    )  # fmt: skip
    await asyncio.sleep(0.2)
    assert told == ["ping"]
