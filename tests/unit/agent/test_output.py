"""Output: its order, its window, its acknowledgements, and who reads it."""

import asyncio
import contextlib
import gc

import pytest

from assay.agent import protocol as wire
from assay.domain.command import Command
from assay.domain.errors import ConnectionLost, InvalidInput, ProtocolViolation
from assay.domain.facts import Facts

COMMAND = Command(argv=("x",))


async def started(link, **options):
    agent, peer = await link(**options)
    execution = await agent.start(COMMAND)
    await peer.expect(wire.EXEC)
    return agent, peer, execution


async def test_both_streams_come_in_order_with_their_offsets(link) -> None:
    _, peer, execution = await started(link)
    await peer.output(1, 0, b"out")
    await peer.output(1, 3, b"err", stream=2)
    await peer.output(1, 6, b"more")
    await peer.exit(1)
    chunks = [chunk async for chunk in execution.output()]
    assert [(chunk.stream, chunk.offset, chunk.data) for chunk in chunks] == [
        ("stdout", 0, b"out"),
        ("stderr", 3, b"err"),
        ("stdout", 6, b"more"),
    ]


async def test_neighbouring_pieces_of_one_stream_are_joined_while_nobody_reads(link) -> None:
    _, peer, execution = await started(link)
    for offset in range(100):
        await peer.output(1, offset, b"x")
    await peer.exit(1)
    await asyncio.sleep(0.01)
    chunks = [chunk async for chunk in execution.output()]
    assert [chunk.data for chunk in chunks] == [b"x" * 100]


async def test_a_chunk_is_acknowledged_when_the_next_one_is_asked_for(link) -> None:
    _, peer, execution = await started(link)
    output = execution.output()
    await peer.output(1, 0, b"abc")
    await anext(output)
    assert await peer.silent()
    asking = asyncio.ensure_future(anext(output))
    frame = await peer.expect(wire.ACK)
    assert wire.to_number(frame.payload) == 3
    await peer.exit(1)
    with pytest.raises(StopAsyncIteration):
        await asking


async def test_while_more_is_waiting_acknowledgements_are_gathered(link) -> None:
    _, peer, execution = await started(link)
    piece = bytes(wire.OUTPUT_BYTES)
    for number in range(8):
        await peer.output(1, number * len(piece), piece)
    await asyncio.sleep(0.01)
    output = execution.output()
    for _ in range(8):
        await anext(output)
    offsets = []
    while not await peer.silent():
        offsets.append(wire.to_number((await peer.expect(wire.ACK)).payload) / len(piece))
    assert offsets == [3, 6]  # the rest is in the reader's hands


async def test_the_end_needs_no_acknowledgement_but_a_release(link) -> None:
    _, peer, execution = await started(link)
    await peer.output(1, 0, b"abc")
    await peer.exit(1)
    await asyncio.sleep(0.01)
    assert [chunk.data async for chunk in execution.output()] == [b"abc"]
    assert await peer.silent()
    assert (await execution.wait()).exit_code == 0
    await peer.expect(wire.RELEASE)
    assert (await execution.wait()).exit_code == 0
    assert await peer.silent()


async def test_output_that_nobody_reads_is_discarded_and_acknowledged(link) -> None:
    _, peer, execution = await started(link)
    waiting = asyncio.create_task(execution.wait())
    for number in range(64):
        await peer.output(1, number * 65_000, bytes(65_000))
        await asyncio.sleep(0)
    await peer.exit(1, Facts(signal=9))
    assert (await waiting).signal == 9


async def test_waiting_leaves_output_to_its_reader(link) -> None:
    _, peer, execution = await started(link)
    output = execution.output()
    waiting = asyncio.create_task(execution.wait())
    await peer.output(1, 0, b"abc")
    await peer.exit(1)
    await asyncio.sleep(0.01)
    assert not waiting.done()
    assert (await anext(output)).data == b"abc"
    assert (await waiting).exit_code == 0


async def test_a_reader_that_was_dropped_is_none(link) -> None:
    _, peer, execution = await started(link)
    await peer.output(1, 0, b"abc")
    async for chunk in execution.output():
        assert chunk.data == b"abc"
        break
    await peer.output(1, 3, b"def", stream=2)
    await peer.exit(1)
    gc.collect()
    assert (await execution.wait()).exit_code == 0


async def test_the_next_reader_goes_on_where_the_last_one_stopped(link) -> None:
    _, peer, execution = await started(link)
    await peer.output(1, 0, b"abc")
    await peer.output(1, 3, b"def", stream=2)
    await peer.exit(1)
    async for chunk in execution.output():
        assert chunk.offset == 0
        break
    assert [chunk.offset async for chunk in execution.output()] == [3]


async def test_two_readers_at_once_are_a_mistake(link) -> None:
    _, _, execution = await started(link)
    output = execution.output()
    with pytest.raises(InvalidInput):
        execution.output()
    del output


async def test_what_came_before_the_loss_is_read_first(link) -> None:
    _, peer, execution = await started(link)
    await peer.output(1, 0, b"abc")
    await peer.stream.aclose()
    await asyncio.sleep(0.01)
    output = execution.output()
    assert (await anext(output)).data == b"abc"
    with pytest.raises(ConnectionLost):
        await anext(output)


async def test_facts_that_came_before_the_loss_count(link) -> None:
    _, peer, execution = await started(link)
    await peer.exit(1, Facts(exit_code=3))
    await peer.stream.aclose()
    await asyncio.sleep(0.01)
    assert (await execution.wait()).exit_code == 3


async def test_a_cancelled_reader_loses_nothing(link) -> None:
    _, peer, execution = await started(link)
    output = execution.output()
    for number in range(50):
        asking = asyncio.ensure_future(anext(output))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        await peer.output(1, number, b"%c" % (65 + number % 26))
        for _ in range(number % 3):
            await asyncio.sleep(0)
        asking.cancel()
        got = (await asyncio.gather(asking, return_exceptions=True))[0]
        if isinstance(got, asyncio.CancelledError):
            got = await anext(output)
        assert got.offset == number


async def test_a_cancelled_wait_can_be_repeated(link) -> None:
    _, peer, execution = await started(link)
    for _ in range(3):
        waiting = asyncio.create_task(execution.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
    await peer.exit(1)
    assert (await execution.wait()).exit_code == 0
    await peer.expect(wire.RELEASE)


async def violates(agent, execution) -> None:
    with pytest.raises(ProtocolViolation):
        async for _ in execution.output():
            pass
    assert isinstance(agent.lost, ProtocolViolation)


@pytest.mark.parametrize("offset", [1, 2**64 - 1])
async def test_a_gap_is_a_violation(link, offset: int) -> None:
    agent, peer, execution = await started(link)
    await peer.output(1, offset, b"abc")
    await violates(agent, execution)


async def test_a_repeated_byte_is_a_violation(link) -> None:
    agent, peer, execution = await started(link)
    await peer.output(1, 0, b"abc")
    await peer.output(1, 2, b"cde")
    await violates(agent, execution)


async def test_output_without_bytes_or_of_a_third_stream_is_a_violation(link) -> None:
    for data, stream in ((b"", 1), (b"abc", 3), (b"abc", 0)):
        agent, peer, execution = await started(link)
        await peer.output(1, 0, data, stream=stream)
        await violates(agent, execution)


async def test_a_megabyte_may_be_unacknowledged_and_not_a_byte_more(link) -> None:
    agent, peer, execution = await started(link)
    offset = 0
    while offset < wire.WINDOW_BYTES:
        await peer.output(1, offset, bytes(32_768))
        offset += 32_768
    await asyncio.sleep(0.01)
    assert agent.lost is None
    await peer.output(1, offset, b"x")
    await asyncio.sleep(0.01)
    assert isinstance(agent.lost, ProtocolViolation)
    with pytest.raises(ProtocolViolation):
        await execution.wait()


async def test_changes_of_stream_are_bounded_as_well(link) -> None:
    agent, peer, execution = await started(link)
    with contextlib.suppress(ConnectionLost):
        for offset in range(100_000):
            await peer.output(1, offset, b"x", stream=1 + offset % 2)
    assert 4096 < offset < 50_000
    await violates(agent, execution)


@pytest.mark.parametrize("kind", [wire.OUTPUT, wire.WINDOW, wire.EXIT])
async def test_after_the_end_nothing_comes(link, kind: int) -> None:
    agent, peer, execution = await started(link)
    await peer.exit(1)
    payload = {wire.OUTPUT: bytes(8) + b"\1x", wire.WINDOW: bytes(9)}.get(kind, wire.number(32, 0))
    await peer.send(wire.frame(1, kind, payload))
    await asyncio.sleep(0.01)
    assert isinstance(agent.lost, ProtocolViolation)
    assert (await execution.wait()).exit_code == 0


async def test_an_abandoned_execution_is_cancelled_drained_and_released(link) -> None:
    agent, peer, execution = await started(link)
    await peer.output(1, 0, b"abc")
    await asyncio.sleep(0.01)
    execution.abandon()
    execution.abandon()
    await peer.expect(wire.CANCEL)
    assert wire.to_number((await peer.expect(wire.ACK)).payload) == 3
    await peer.output(1, 3, b"more")
    assert wire.to_number((await peer.expect(wire.ACK)).payload) == 7
    await peer.exit(1)
    await peer.expect(wire.RELEASE)
    assert not agent._executions


async def test_cancel_and_wait_release_as_well(link) -> None:
    agent, peer, execution = await started(link)
    await execution.cancel()
    await peer.expect(wire.CANCEL)
    await peer.exit(1, Facts(signal=9))
    await execution.wait()
    await peer.expect(wire.RELEASE)
    assert not agent._executions
