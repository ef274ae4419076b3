"""Streams over real sockets."""

import asyncio
import random
import socket

import pytest

from assay.domain.errors import ConnectionLost
from assay.driver.port import ByteStream
from assay.driver.stream import DirectReads, DirectWrites, SocketStream


@pytest.fixture
async def pair():
    ours, theirs = socket.socketpair()
    streams = SocketStream(ours), SocketStream(theirs)
    yield streams
    for stream in streams:
        await stream.aclose()


async def test_it_is_a_byte_stream_with_direct_writes(pair) -> None:
    assert isinstance(pair[0], ByteStream)
    assert isinstance(pair[0], DirectWrites)
    assert isinstance(pair[0], DirectReads)


async def test_megabytes_arrive_whole_in_both_directions_at_once(pair) -> None:
    data = random.Random(1).randbytes(8_000_000)

    async def receive(stream: SocketStream) -> bytes:
        got = bytearray()
        while len(got) < len(data):
            got += await stream.read(random.choice((1, 100, 262_144)))
        return bytes(got)

    one, two = pair
    results = await asyncio.gather(one.write(data), two.write(data), receive(one), receive(two))
    assert results[2] == results[3] == data


async def test_direct_writes_take_what_fits(pair) -> None:
    one, two = pair
    sent = 0
    while count := one.try_write(bytes(100_000)):
        sent += count
    assert sent > 100_000
    writing = asyncio.create_task(one.write(b"end"))
    got = b""
    while not got.endswith(b"end"):
        got += await two.read(50_000)
    await writing
    assert len(got) == sent + 3


async def test_the_end_is_read_after_what_was_written(pair) -> None:
    one, two = pair
    await one.write(b"last")
    await one.aclose()
    assert await two.read(100) == b"last"
    assert await two.read(100) == b""
    assert await two.read(100) == b""
    with pytest.raises(ConnectionLost):
        await two.write(b"x")


async def test_a_cancelled_read_loses_no_byte(pair) -> None:
    one, two = pair
    got = b""
    for number in range(200):
        reading = asyncio.create_task(two.read(3))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        await one.write(bytes([number]))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        reading.cancel()
        result = (await asyncio.gather(reading, return_exceptions=True))[0]
        if isinstance(result, bytes):
            got += result
    while len(got) < 200:
        got += await two.read(1)
    assert got == bytes(range(200))


async def test_a_cancelled_write_leaves_the_stream_usable_for_closing(pair) -> None:
    one, _ = pair
    writing = asyncio.create_task(one.write(bytes(10_000_000)))
    await asyncio.sleep(0.01)
    writing.cancel()
    await asyncio.wait((writing,))
    await one.aclose()


async def test_closing_ends_a_pending_read_and_a_pending_write(pair) -> None:
    one, _ = pair
    reading = asyncio.create_task(one.read(10))
    writing = asyncio.create_task(one.write(bytes(10_000_000)))
    await asyncio.sleep(0.01)
    await one.aclose()
    await one.aclose()
    for task in (reading, writing):
        with pytest.raises(ConnectionLost):
            await task
    with pytest.raises(ConnectionLost):
        await one.read(1)
    with pytest.raises(ConnectionLost):
        await one.write(b"x")


async def test_a_descriptor_that_is_reused_gets_none_of_our_events() -> None:
    for _ in range(50):
        ours, theirs = socket.socketpair()
        one, two = SocketStream(ours), SocketStream(theirs)
        reading = asyncio.create_task(one.read(10))
        await asyncio.sleep(0)
        await one.aclose()
        with pytest.raises(ConnectionLost):
            await reading
        await two.aclose()


async def test_bytes_that_nobody_waits_for_cost_no_turns_of_the_loop(pair) -> None:
    """The descriptor is level-triggered: left registered, it would keep the loop busy."""
    one, two = pair
    await one.write(b"a")
    assert await two.read(1) == b"a"
    reading = asyncio.create_task(two.read(1))
    await asyncio.sleep(0)
    await one.write(b"bc")
    assert await reading == b"b"
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.01)
    turns = 0
    select = loop._selector.select

    def counted(timeout=None):
        nonlocal turns
        turns += 1
        return select(timeout)

    loop._selector.select = counted
    await asyncio.sleep(0.05)
    loop._selector.select = select
    assert turns < 10
    assert await two.read(1) == b"c"


# --- handing over what comes ----------------------------------------------------------------------


class Heard:
    """What a stream has handed over."""

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[ConnectionLost | None] = []

    def on_bytes(self, data: bytes) -> None:
        assert data
        self.data += data


async def listening(stream: SocketStream) -> Heard:
    heard = Heard()
    stream.listen(heard.on_bytes, heard.ends.append)
    await asyncio.sleep(0.01)
    return heard


async def test_what_comes_is_handed_over_in_order_and_then_the_end(pair) -> None:
    one, two = pair
    await one.write(b"before ")
    heard = await listening(two)
    data = random.Random(2).randbytes(3_000_000)
    await one.write(data)
    await one.aclose()
    await asyncio.sleep(0.01)
    assert heard.data == b"before " + data
    assert heard.ends == [None]


async def test_each_turn_of_the_loop_hands_over_once(pair) -> None:
    one, two = pair
    turns: list[int] = []
    turn = 0

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    two.listen(lambda data: turns.append(turn), lambda error: None)
    await one.write(bytes(2_000_000))
    await asyncio.sleep(0.01)
    counting.cancel()
    assert len(turns) == len(set(turns)) > 5


async def test_a_pause_hands_over_nothing_and_loses_nothing(pair) -> None:
    one, two = pair
    heard = await listening(two)
    two.pause()
    await one.write(b"abc")
    await asyncio.sleep(0.01)
    assert heard.data == b""
    two.resume()
    two.resume()
    await asyncio.sleep(0.01)
    assert heard.data == b"abc"


async def test_what_a_cancelled_read_has_got_is_handed_over_first(pair) -> None:
    one, two = pair
    reading = asyncio.create_task(two.read(100))
    await asyncio.sleep(0)
    two._reading.set_result(b"ab")  # in the turn in which the reader is cancelled
    reading.cancel()
    await asyncio.wait((reading,))
    await one.write(b"cd")
    heard = await listening(two)
    await asyncio.sleep(0.01)
    assert heard.data == b"abcd"


async def test_nothing_is_handed_over_after_closing_amid_it(pair) -> None:
    one, two = pair
    calls = []

    def close_at_once(data: bytes) -> None:
        calls.append(data)
        two.close()

    two.listen(close_at_once, calls.append)
    one.try_write(bytes(400_000))
    await asyncio.sleep(0.02)
    assert len(calls) == 1


async def test_who_listens_hears_that_somebody_else_has_closed(pair) -> None:
    heard = await listening(pair[0])
    await pair[0].aclose()
    await pair[0].aclose()
    assert [type(each) for each in heard.ends] == [ConnectionLost]


async def test_a_broken_stream_says_why() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(server.getsockname())
    theirs, _ = server.accept()
    stream = SocketStream(ours)
    heard = await listening(stream)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes((1, 0, 0, 0, 0, 0, 0, 0)))
    theirs.close()  # which resets the connection
    await asyncio.sleep(0.02)
    assert [type(each) for each in heard.ends] == [ConnectionLost]
    await stream.aclose()
    server.close()
