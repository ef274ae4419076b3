"""Executions that somebody observes: end-to-end acknowledgement, input without waiting, numbers."""

import asyncio

import pytest

from assay.agent import protocol as wire
from assay.agent.execution import Stream
from assay.agent.messages import KnownExecution
from assay.domain.command import Command
from assay.domain.errors import ConnectionLost, InvalidInput
from assay.domain.facts import Facts

CAT = Command(argv=("cat",), stdin=True)


class Notes:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.output: list[tuple[str, bytes]] = []
        self.changes = 0
        self.changed = asyncio.Event()

    def on_output(self, stream: Stream, data: bytes) -> None:
        self.output.append((stream, data))
        self.changed.set()

    def on_change(self) -> None:
        self.changes += 1
        self.changed.set()

    async def next(self) -> None:
        await self.changed.wait()
        self.changed.clear()


async def test_output_is_wanted_until_it_is_acknowledged(link) -> None:
    agent, peer = await link()
    notes = Notes()
    execution = await agent.start(CAT, observer=notes)
    await peer.expect(wire.EXEC)
    await peer.output(1, 0, b"hello")
    await notes.next()
    assert notes.output == [("stdout", b"hello")]
    assert await peer.silent()
    execution.acknowledge(3)
    assert wire.to_number((await peer.expect(wire.ACK)).payload) == 3
    execution.acknowledge(2)
    execution.acknowledge(900)
    assert await peer.silent()


async def test_more_than_the_window_without_acknowledgement_breaks_the_protocol(link) -> None:
    agent, peer = await link()
    notes = Notes()
    execution = await agent.start(CAT, observer=notes)
    for start in range(0, wire.WINDOW_BYTES + 1, wire.OUTPUT_BYTES):
        await peer.output(1, start, bytes(wire.OUTPUT_BYTES))
    while execution.error is None:
        await notes.next()
    assert agent.lost is not None
    assert len(notes.output) == wire.WINDOW_BYTES // wire.OUTPUT_BYTES


async def test_the_end_is_kept_by_the_agent_until_it_is_released(link) -> None:
    agent, peer = await link()
    notes = Notes()
    execution = await agent.start(CAT, observer=notes)
    execution.release()
    await peer.expect(wire.EXEC)
    await peer.exit(1, Facts(exit_code=3))
    await notes.next()
    assert execution.facts is not None
    assert execution.facts.exit_code == 3
    assert await peer.silent()
    execution.release()
    await peer.expect(wire.RELEASE)


async def test_input_is_sent_as_far_as_the_window_goes_without_waiting(link) -> None:
    agent, peer = await link()
    notes = Notes()
    execution = await agent.start(CAT, observer=notes)
    await peer.expect(wire.EXEC)
    assert execution.offer(b"early") == 0
    await peer.window(1, 4)
    await notes.next()
    assert execution.input_window == 4
    assert execution.offer(b"early") == 4
    assert (await peer.expect(wire.INPUT)).payload[8:] == b"earl"
    await peer.window(1, 100)
    await notes.next()
    assert execution.offer(b"y") == 1
    execution.offer_end()
    assert (await peer.expect(wire.INPUT)).payload[8:] == b"y"
    assert wire.to_number((await peer.expect(wire.END)).payload) == 5
    assert execution.offer(b"too late") == 8
    assert await peer.silent()


async def test_a_kill_does_not_wait(link) -> None:
    agent, peer = await link()
    execution = await agent.start(CAT, observer=Notes())
    await peer.expect(wire.EXEC)
    execution.kill()
    await peer.expect(wire.CANCEL)


async def test_numbers_are_reserved_in_order_and_used_once(link) -> None:
    agent, peer = await link()
    first, second = agent.reserve(), agent.reserve()
    assert (first, second) == (1, 2)
    await agent.start(CAT)
    await agent.start(CAT, number=second)
    await agent.start(CAT, number=first)
    assert [(await peer.expect(wire.EXEC)).channel for _ in range(3)] == [3, 2, 1]
    with pytest.raises(InvalidInput):
        await agent.start(CAT, number=second)
    agent.reserve_above(10)
    agent.reserve_above(5)
    assert agent.reserve() == 11
    assert agent.last_number == 11


async def test_attaching_keeps_what_was_received_but_is_still_wanted(link) -> None:
    known = KnownExecution(number=7, ended=False, output_start=10, output_end=60, stdin_received=2)
    agent, peer = await link(known=(known,))
    assert agent.highest == 0
    notes = Notes()
    execution = await agent.attach(7, offset=50, acknowledged=20, observer=notes)
    assert wire.to_number((await peer.expect(wire.ATTACH)).payload) == 50
    assert wire.to_number((await peer.expect(wire.ACK)).payload) == 20
    await peer.output(7, 50, b"0123456789")
    await notes.next()
    execution.acknowledge(60)
    assert wire.to_number((await peer.expect(wire.ACK)).payload) == 60


async def test_whoever_owns_the_connection_is_told_that_it_is_lost(link) -> None:
    agent, peer = await link()
    notes = Notes()
    execution = await agent.start(CAT, observer=notes)
    told = asyncio.Event()
    agent.on_lost = told.set
    await peer.stream.aclose()
    await told.wait()
    await notes.next()
    assert isinstance(agent.lost, ConnectionLost)
    assert isinstance(execution.error, ConnectionLost)


async def test_closing_a_connection_is_no_loss(link) -> None:
    agent, _ = await link()
    told: list[None] = []
    agent.on_lost = lambda: told.append(None)
    await agent.aclose()
    assert told == []
