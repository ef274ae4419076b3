"""Standard input and everything else that the host sends: windows, order, priorities."""

import asyncio
import random

import pytest

from assay.agent import protocol as wire
from assay.domain.command import Command, TerminalSize
from assay.domain.errors import ConnectionLost, InvalidInput

CAT = Command(argv=("cat",), stdin=True)
TERMINAL = Command(argv=("sh",), terminal=TerminalSize())


async def started(link, command: Command = CAT, **options):
    agent, peer = await link(**options)
    execution = await agent.start(command)
    await peer.expect(wire.EXEC)
    return agent, peer, execution


async def received(peer, count: int) -> bytes:
    data = b""
    while len(data) < count:
        offset, piece = wire.to_input((await peer.expect(wire.INPUT)).payload)
        assert offset == len(data)
        data += piece
    return data


async def test_nothing_is_sent_before_the_first_window(link) -> None:
    _, peer, execution = await started(link)
    writing = asyncio.create_task(execution.write(b"hello"))
    assert await peer.silent()
    await peer.window(1, 3)
    assert wire.to_input((await peer.expect(wire.INPUT)).payload) == (0, b"hel")
    assert await peer.silent()
    assert not writing.done()
    await peer.window(1, 10)
    assert wire.to_input((await peer.expect(wire.INPUT)).payload) == (3, b"lo")
    await writing


async def test_large_input_is_cut_into_frames_and_followed_by_its_end(link) -> None:
    _, peer, execution = await started(link)
    await peer.window(1, 2**40)
    data = random.Random(1).randbytes(1_000_000)

    async def send() -> None:
        await execution.write(data)
        await execution.end_input()
        await execution.end_input()

    sending = asyncio.create_task(send())
    assert await received(peer, len(data)) == data
    assert wire.to_number((await peer.expect(wire.END)).payload) == len(data)
    await sending
    assert await peer.silent()


async def test_a_window_never_shrinks(link) -> None:
    _, peer, execution = await started(link)
    await peer.window(1, 10)
    await peer.window(1, 2)
    await asyncio.sleep(0.01)
    await execution.write(b"0123456789")
    assert await received(peer, 10) == b"0123456789"


async def test_input_that_nobody_reads_is_dropped(link) -> None:
    _, peer, execution = await started(link)
    writing = asyncio.create_task(execution.write(b"hello"))
    await peer.window(1, 0, closed=True)
    await writing
    assert execution.input_closed
    await execution.write(b"more")
    await execution.end_input()
    assert await peer.silent()


async def test_input_after_the_end_is_dropped(link) -> None:
    _, peer, execution = await started(link)
    writing = asyncio.create_task(execution.write(b"hello"))
    await peer.exit(1)
    await writing
    await execution.write(b"x")
    await execution.signal(15)
    await execution.cancel()
    assert await peer.silent()


async def test_writing_to_a_lost_connection_says_so(link) -> None:
    _, peer, execution = await started(link)
    writing = asyncio.create_task(execution.write(b"hello"))
    await asyncio.sleep(0)
    await peer.stream.aclose()
    with pytest.raises(ConnectionLost):
        await writing


async def test_a_program_without_input_takes_none(link) -> None:
    _, _, execution = await started(link, Command(argv=("x",)))
    with pytest.raises(InvalidInput):
        await execution.write(b"x")
    with pytest.raises(InvalidInput):
        await execution.end_input()


@pytest.mark.parametrize("number", [0, 65, -1])
async def test_there_are_sixty_four_signals(link, number: int) -> None:
    _, _, execution = await started(link)
    with pytest.raises(InvalidInput):
        await execution.signal(number)


async def test_a_terminal_has_input_and_more_of_it_after_its_end(link) -> None:
    _, peer, execution = await started(link, TERMINAL)
    await peer.window(1, 100)
    await execution.write(b"a\r")
    await execution.end_input()
    await execution.write(b"b\r")
    await execution.end_input()
    kinds = [(await peer.receive()).type for _ in range(4)]
    assert kinds == [wire.INPUT, wire.END, wire.INPUT, wire.END]


async def test_signals_and_sizes_are_sent_as_they_are(link) -> None:
    _, peer, execution = await started(link, TERMINAL)
    await execution.signal(2)
    await execution.resize(TerminalSize(rows=50, columns=132))
    assert wire.to_number((await peer.expect(wire.SIGNAL)).payload) == 2
    assert wire.to_size((await peer.expect(wire.RESIZE)).payload) == (50, 132)


async def test_a_keystroke_waits_for_one_bulk_frame_and_no_more(link) -> None:
    agent, peer, bulk = await started(link, capacity=65_536, exact=True)
    others = [await agent.start(CAT) for _ in range(4)]
    terminal = await agent.start(TERMINAL)
    for _ in range(5):
        await peer.expect(wire.EXEC)
    for number in range(1, 7):
        await peer.window(number, 2**40)
    await asyncio.sleep(0.01)
    data = bytes(5_000_000)
    writing = [asyncio.create_task(each.write(data)) for each in (bulk, *others)]
    await asyncio.sleep(0.01)
    typing = asyncio.create_task(terminal.write(b"k"))
    signalling = asyncio.create_task(bulk.signal(2))
    await asyncio.sleep(0)
    before = []
    while len(before) < 10:
        frame = await peer.receive()
        before.append((frame.channel, frame.type))
        if frame.type == wire.SIGNAL:
            break
    # What fills the stream's buffer and the frame under way come first, then what is urgent.
    assert (6, wire.INPUT) in before[:4]
    assert (1, wire.SIGNAL) in before[:4]
    await asyncio.gather(typing, signalling)
    for task in writing:
        task.cancel()
    await asyncio.wait(writing)


async def test_bulk_input_of_several_programs_takes_turns(link) -> None:
    agent, peer, one = await started(link, capacity=65_536, exact=True)
    two = await agent.start(CAT)
    await peer.expect(wire.EXEC)
    for number in (1, 2):
        await peer.window(number, 2**40)
    await asyncio.sleep(0.01)
    writing = [asyncio.create_task(each.write(bytes(2_000_000))) for each in (one, two)]
    channels = [(await peer.expect(wire.INPUT)).channel for _ in range(20)]
    assert abs(channels.count(1) - channels.count(2)) <= 2
    for task in writing:
        task.cancel()
    await asyncio.wait(writing)


async def test_cancelling_at_any_point_never_tears_a_frame(link) -> None:
    chance = random.Random(7)
    agent, peer, execution = await started(link, capacity=3000)
    await peer.window(1, 2**40)
    await asyncio.sleep(0.01)
    sent = random.Random(8).randbytes(400_000)

    async def send() -> None:
        while execution.input_offset < len(sent):
            start = execution.input_offset
            await execution.write(sent[start : start + chance.randint(1, 9000)])

    async def harass() -> None:
        while execution.input_offset < len(sent):
            task = asyncio.create_task(send())
            for _ in range(chance.randint(0, 12)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))

    harassing = asyncio.create_task(harass())
    assert await received(peer, len(sent)) == sent
    await harassing
    assert agent.lost is None


async def test_a_closed_connection_lets_writers_go(link) -> None:
    agent, peer, execution = await started(link, capacity=1000)
    await peer.window(1, 2**40)
    writing = asyncio.create_task(execution.write(bytes(1_000_000)))
    await asyncio.sleep(0.01)
    await agent.aclose()
    with pytest.raises(ConnectionLost):
        await writing
