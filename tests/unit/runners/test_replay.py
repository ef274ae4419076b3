"""What is kept of output: everything that isn't confirmed, and no more than that."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from assay.agent.protocol import MOST_PAYLOAD
from assay.domain.errors import InvalidInput, OffsetLost, ProtocolViolation
from assay.runners.replay import ACK_BYTES, ACK_PIECES, Replay

STREAMS = ("stdout", "stderr")


def everything(replay: Replay) -> list[tuple[str, int, bytes]]:
    found = []
    while (output := replay.next()) is not None:
        found.append(output)
    return found


@given(
    steps=some.lists(
        some.one_of(
            some.tuples(some.just("append"), some.integers(0, 1), some.integers(1, 70_000)),
            some.tuples(some.just("next"), some.integers(1, 5), some.just(0)),
            some.tuples(some.just("acknowledge"), some.floats(0, 1), some.just(0)),
            some.tuples(some.just("resume"), some.floats(0, 1), some.just(0)),
        ),
        max_size=60,
    )
)
def test_a_reader_gets_every_byte_from_where_it_is(steps) -> None:
    """Whatever comes, is confirmed, and is taken up again, in whatever order."""
    replay, truth = Replay(), bytearray()
    position = 0
    for kind, first, second in steps:
        if kind == "append":
            data = bytes([len(truth) % 251]) * second
            replay.append(STREAMS[first], data)
            truth += data
        elif kind == "next":
            for _ in range(first):
                output = replay.next()
                if output is None:
                    assert position == len(truth)
                    break
                assert output.offset == position
                assert output.data == truth[position : position + len(output.data)]
                position += len(output.data)
        elif kind == "acknowledge":
            replay.acknowledge(replay.start + int((position - replay.start) * first))
        else:
            position = replay.start + int((len(truth) - replay.start) * first)
            replay.resume(position, most=0)
        assert replay.position == position
        assert replay.end == len(truth)
    rest = b"".join(output.data for output in everything(replay))
    assert rest == truth[position:]


def test_neighbours_of_a_stream_are_one_piece() -> None:
    replay = Replay()
    for _ in range(100_000):
        replay.append("stdout", b"x")
    assert [len(output.data) for output in everything(replay)] == [MOST_PAYLOAD, 100_000 - 65536]
    replay.append("stdout", b"y")
    replay.append("stderr", b"z")
    assert [(each.stream, each.data) for each in everything(replay)] == [
        ("stdout", b"y"),
        ("stderr", b"z"),
    ]


def test_output_cut_finer_than_an_agent_may_is_refused() -> None:
    replay = Replay()
    for number in range(4096 + 256):
        replay.append(STREAMS[number % 2], b"x")
    with pytest.raises(ProtocolViolation):
        replay.append("stdout", b"x")


def test_an_agent_is_told_when_it_is_worth_a_message() -> None:
    replay = Replay()
    replay.append("stdout", bytes(60_000))
    everything(replay)
    assert replay.acknowledge(60_000) is None
    for _ in range(2):
        replay.append("stdout", bytes(60_000))
        everything(replay)
    assert replay.acknowledge(120_000) is None
    assert replay.acknowledge(ACK_BYTES + 5) == ACK_BYTES + 5
    for number in range(ACK_PIECES + 2):
        replay.append(STREAMS[number % 2], b"x")
    everything(replay)
    assert replay.acknowledge(replay.end) == replay.end


def test_what_was_confirmed_cannot_be_had_nor_what_has_not_come() -> None:
    replay = Replay(10)
    replay.append("stdout", b"0123456789")
    everything(replay)
    replay.acknowledge(15)
    for offset in (0, 14, 21):
        with pytest.raises(OffsetLost):
            replay.resume(offset, most=20)
    with pytest.raises(InvalidInput):
        replay.acknowledge(21)
    replay.resume(15, most=20)
    assert replay.next().data == b"56789"


def test_a_client_may_know_more_than_a_server_that_has_just_started() -> None:
    replay = Replay(100)
    assert replay.resume(150, most=160) is None
    replay.append("stdout", bytes(40))
    assert replay.next() is None
    replay.append("stdout", bytes(5) + b"\1\2\3\4\5" + b"new")
    output = replay.next()
    assert (output.offset, output.data) == (150, b"new")
    assert replay.start == 150


def test_what_nobody_wants_goes_by() -> None:
    replay = Replay()
    replay.append("stdout", bytes(10))
    assert replay.drop(ACK_BYTES) == ACK_BYTES + 10
    assert replay.next() is None
    assert replay.unconfirmed == 0
