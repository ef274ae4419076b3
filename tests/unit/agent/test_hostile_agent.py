"""An agent that sends anything at all: only our own errors, no hanging, bounded memory."""

import asyncio
import tracemalloc
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.agent import protocol as wire
from assay.agent.client import Agent
from assay.agent.execution import Execution
from assay.agent.inbox import FRAMES_AT_ONCE
from assay.agent.messages import Ready, exit_payload, refusal
from assay.domain.command import Command
from assay.domain.errors import AssayError
from assay.domain.facts import Facts
from assay.driver.port import Secret
from assay.drivers.fake import run_in_virtual_time
from assay.drivers.fake.stream import stream_pair

READY = wire.frame(0, wire.READY, Ready(epoch=1).encode())
EXIT = exit_payload(Facts(exit_code=0))

sensible = st.one_of(
    st.builds(wire.frame, st.just(0), st.sampled_from([wire.PING, wire.PONG]), st.binary()),
    st.builds(
        wire.output_frame,
        st.integers(1, 4),
        st.integers(0, 20) | st.just(2**64 - 1),
        st.integers(0, 3),
        st.binary(max_size=30),
    ),
    st.builds(
        lambda channel, offset, closed: wire.window_frame(channel, offset, closed=closed),
        st.integers(1, 4),
        st.integers(0, 2**64 - 1),
        st.booleans(),
    ),
    st.builds(lambda channel: wire.frame(channel, wire.EXIT, EXIT), st.integers(1, 4)),
    st.builds(
        lambda channel: wire.frame(channel, wire.FAILED, refusal("busy", "no")), st.integers(1, 4)
    ),
    st.just(wire.frame(0, wire.REFUSED, refusal("epoch", "gone"))),
    st.binary(max_size=40),
)


def mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in changes:
        if changed:
            changed[place % len(changed)] = value
    return bytes(changed)


streams = st.builds(
    lambda ready, frames, changes: mutated(ready + b"".join(frames), changes),
    st.just(READY) | st.just(b""),
    st.lists(sensible, max_size=15),
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3),
)


async def use(execution: Execution) -> None:
    async for chunk in execution.output():
        assert chunk.data
    await execution.wait()


async def write(execution: Execution) -> None:
    await execution.write(b"x" * 100_000)
    await execution.end_input()


async def expect_only_our_errors(*work: object) -> None:
    results = await asyncio.gather(*work, return_exceptions=True)  # type: ignore[call-overload]
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, AssayError):
            raise result


async def talk_to(data: bytes, sizes: list[int]) -> None:
    ours, theirs = stream_pair()

    async def speak() -> None:
        position = 0
        while position < len(data):
            size = sizes[position % len(sizes)] if sizes else len(data)
            try:
                await theirs.write(data[position : position + size])
            except AssayError:
                return
            position += size
            await asyncio.sleep(0)

    speaking = asyncio.create_task(speak())
    try:
        agent = await Agent.connect(ours, Secret(bytes(32)))
    except AssayError:
        await speaking
        return
    try:
        executions = [
            await agent.start(Command(argv=("x",), stdin=True)),
            await agent.start(Command(argv=("x",))),
        ]
    except AssayError:
        executions = []
    reading = (use(execution) for execution in executions)
    await expect_only_our_errors(*reading, *map(write, executions[:1]), agent.ping())
    await agent.aclose()
    await speaking


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(streams, st.lists(st.integers(1, 40), max_size=5))
def test_only_our_own_errors_come_out_of_anything_an_agent_sends(
    data: bytes, sizes: list[int]
) -> None:
    """In virtual time, so that an agent that falls silent is lost at once, too."""
    run_in_virtual_time(talk_to(data, sizes))


def test_an_agent_that_sends_for_ever_cannot_fill_our_memory() -> None:
    async def main() -> None:
        ours, theirs = stream_pair()
        await theirs.write(READY)
        agent = await Agent.connect(ours, Secret(bytes(32)))
        executions = [await agent.start(Command(argv=("x",))) for _ in range(4)]
        tracemalloc.start()
        for turn in range(3000):
            offset = turn * 300
            for execution in executions:
                number = execution.number
                await theirs.write(wire.output_frame(number, offset, 1, bytes(300)))
                await theirs.write(wire.frame(0, wire.PING, bytes(64)))
            await theirs.read(65_536) if turn == 0 else None
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert agent.lost is None
        assert peak < 4 * 1.5 * wire.WINDOW_BYTES
        await agent.aclose()

    asyncio.run(main())


async def test_many_small_frames_do_not_keep_others_waiting(link) -> None:
    agent, peer = await link(capacity=10**6)
    execution = await agent.start(Command(argv=("flood",)))
    count = 15_000
    await peer.send(*(wire.output_frame(1, offset, 1, b"x") for offset in range(count)))
    seen = [execution.output_offset]
    while execution.output_offset < count:
        await asyncio.sleep(0)
        seen.append(execution.output_offset)
    assert max(later - earlier for earlier, later in pairwise(seen)) <= FRAMES_AT_ONCE
    assert agent.lost is None


async def test_closing_amid_many_small_frames_is_no_loss(link) -> None:
    agent, peer = await link(capacity=10**6)
    execution = await agent.start(Command(argv=("flood",)))
    await peer.send(*(wire.output_frame(1, offset, 1, b"x") for offset in range(15_000)))
    anyone_reads = execution.output()
    assert (await anext(anyone_reads)).offset == 0
    async with asyncio.timeout(10):
        await agent.aclose()
    assert execution.output_offset < 15_000
    assert agent.lost is None
