"""Frames and fields, in both directions, well-formed and hostile."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.agent import messages
from assay.agent import protocol as wire
from assay.domain.command import Command, Interpreter, TerminalSize
from assay.domain.errors import InvalidInput, ProtocolViolation
from assay.domain.facts import Facts, KilledBy, Measurement, Scope, Source
from assay.domain.limits import ExecutionLimits

frames = st.tuples(
    st.integers(1, 2**32 - 1),
    st.sampled_from(sorted(wire.TO_HOST - wire.OF_CONNECTION)),
    st.binary(max_size=300),
)


@given(st.lists(frames, max_size=20), st.randoms(use_true_random=False))
def test_frames_survive_every_way_of_cutting_the_stream(
    sent: list[tuple[int, int, bytes]], chance: random.Random
) -> None:
    data = b"".join(wire.frame(*one) for one in sent)
    decoder = wire.FrameDecoder(wire.TO_HOST)
    received = []
    while data:
        size = chance.randint(1, 50)
        received += decoder.feed(data[:size])
        data = data[size:]
    assert [tuple(frame) for frame in received] == sent


@given(st.binary(max_size=2000))
def test_arbitrary_bytes_are_frames_or_a_violation(data: bytes) -> None:
    decoder = wire.FrameDecoder(wire.TO_HOST)
    with contextlib.suppress(ProtocolViolation):
        for frame in decoder.feed(data):
            assert len(frame.payload) <= wire.MOST_PAYLOAD


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"\x01\x00\x01\x00" + b"\x01\0\0\0" + b"\x20\0\0\0", "a payload over 64 KiB"),
        (b"\0\0\0\0" + b"\x01\0\0\0" + b"\x20\x01\0\0", "a reserved byte"),
        (b"\0\0\0\0" + b"\x01\0\0\0" + b"\x20\0\0\x80", "the last reserved byte"),
        (b"\0\0\0\0" + b"\x01\0\0\0" + b"\x63\0\0\0", "an unknown type"),
        (b"\0\0\0\0" + b"\x01\0\0\0" + b"\x10\0\0\0", "a type of the other direction"),
        (b"\0\0\0\0" + b"\0\0\0\0" + b"\x20\0\0\0", "output on the connection's channel"),
        (b"\0\0\0\0" + b"\x01\0\0\0" + b"\x04\0\0\0", "a PING on an execution's channel"),
    ],
)
def test_a_header_that_breaks_a_rule_ends_the_connection(header: bytes, why: str) -> None:
    with pytest.raises(ProtocolViolation):
        list(wire.FrameDecoder(wire.TO_HOST).feed(header))


def test_frames_before_a_violation_are_delivered() -> None:
    data = wire.frame(1, wire.EXIT, b"x") + b"\xff" * 12
    frames = wire.FrameDecoder(wire.TO_HOST).feed(data)
    assert next(frames) == (1, wire.EXIT, b"x")
    with pytest.raises(ProtocolViolation):
        next(frames)


@given(st.binary(max_size=400))
def test_payloads_parse_or_are_a_violation(payload: bytes) -> None:
    for decode in (
        messages.Ready.decode,
        messages.Hello.decode,
        messages.to_refusal,
        messages.to_request,
        lambda data: messages.to_facts(data, kernel=Source.HOST),
        lambda data: list(wire.fields(data)),
        wire.to_output,
        wire.to_input,
        wire.to_window,
        wire.to_size,
        wire.to_number,
    ):
        with contextlib.suppress(ProtocolViolation):
            decode(payload)


field_lists = st.lists(
    st.tuples(st.sampled_from([1, 3, 4, 5, 6, *range(32, 42), 99]), st.binary(max_size=40))
)


@given(field_lists)
def test_fields_with_odd_values_parse_or_are_a_violation(found: list[tuple[int, bytes]]) -> None:
    payload = b"".join(wire.field(tag, value) for tag, value in found)
    for decode in (messages.Ready.decode, lambda data: messages.to_facts(data, kernel=Source.HOST)):
        with contextlib.suppress(ProtocolViolation):
            decode(payload)


def measured(value: int, source: Source = Source.HOST) -> Measurement:
    return Measurement(value=value, source=source)


@pytest.mark.parametrize(
    "facts",
    [
        Facts(exit_code=0),
        Facts(exit_code=255, wall_ns=measured(5, Source.AGENT), cpu_ns=measured(2**62)),
        Facts(signal=9, killed_by=KilledBy.CPU, oom_kills=measured(3)),
        Facts(
            exit_code=127,
            start_error="ENOENT",
            start_step="program",
            peak_memory_bytes=Measurement(value=1, source=Source.HOST, scope=Scope.SANDBOX),
            output_bytes=measured(0, Source.AGENT),
        ),
    ],
)
def test_facts_travel_unchanged(facts: Facts) -> None:
    assert messages.to_facts(messages.exit_payload(facts), kernel=Source.HOST) == facts


def test_what_a_sandboxs_own_kernel_says_is_the_guests_word() -> None:
    payload = messages.exit_payload(Facts(exit_code=0, cpu_ns=measured(1)))
    facts = messages.to_facts(payload, kernel=Source.GUEST)
    assert facts.cpu_ns is not None
    assert facts.cpu_ns.source is Source.GUEST


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        wire.number(32, 0) + wire.number(33, 9),
        wire.number(32, 256),
        wire.number(33, 0),
        wire.number(32, 1) + wire.number(34, 5),
        wire.number(32, 1) + wire.number(35, 0),
        wire.number(32, 1) + wire.field(37, bytes(9)),
        wire.number(32, 1) + wire.field(37, bytes(10)),
        wire.number(32, 1) + wire.field(37, b"\xff" * 8 + b"\x01\x01"),
        wire.field(32, b"\0"),
        wire.number(32, 1)[:-1],
    ],
    ids=range(11),
)
def test_an_end_that_makes_no_sense_is_a_violation(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        messages.to_facts(payload, kernel=Source.HOST)


def test_unknown_fields_are_skipped_and_the_last_of_a_tag_counts() -> None:
    payload = wire.field(200, b"new") + wire.number(32, 1) + wire.number(32, 2)
    assert messages.to_facts(payload, kernel=Source.HOST).exit_code == 2


def test_texts_from_the_agent_may_be_any_bytes() -> None:
    code, message = messages.to_refusal(wire.field(7, b"\xff\xfe") + wire.field(8, b"x" * 9999))
    assert code == "\ufffd\ufffd"
    assert len(message) <= 400


def test_a_command_travels_unchanged() -> None:
    command = Command(
        argv=("prog", "two words", "ä\udcff"),
        environment={"A": "b=c"},
        working_directory="/tmp",
        uid=77,
        terminal=TerminalSize(rows=3, columns=4),
        separate_stderr=True,
        stdin=True,
        limits=ExecutionLimits(wall_seconds=1.5, cpu_seconds=None, output_bytes=7, open_files=9),
    )
    frame = next(wire.FrameDecoder(wire.TO_AGENT).feed(messages.exec_frame(5, command)))
    request = messages.to_request(frame.payload)
    assert frame.channel == 5
    assert request.argv == (b"prog", b"two words", b"\xc3\xa4\xff")
    assert request.environment == (b"A=b=c",)
    assert request.working_directory == b"/tmp"
    assert (request.uid, request.gid) == (77, 77)
    assert request.terminal == TerminalSize(rows=3, columns=4)
    assert request.separate_stderr
    assert request.stdin
    assert (request.wall_ns, request.cpu_ns) == (1_500_000_000, None)
    assert (request.output_bytes, request.open_files) == (7, 9)


def test_a_privileged_command_has_no_uid_on_the_wire() -> None:
    frame = messages.exec_frame(1, Command(argv=("id",), privileged=True))
    assert messages.to_request(frame[12:]).uid == 0


@pytest.mark.parametrize(
    "command",
    [
        Command(argv=("x", "y" * 70_000)),
        Command(argv=("\ud800",)),
        Command(argv=("x",), terminal=TerminalSize(rows=0, columns=80)),
        Command(argv=("x",), terminal=TerminalSize(rows=24, columns=70_000)),
    ],
)
def test_a_command_that_cannot_be_sent_is_the_callers_mistake(command: Command) -> None:
    with pytest.raises(InvalidInput):
        messages.exec_frame(1, command)


def test_limits_of_any_size_can_be_sent() -> None:
    limits = ExecutionLimits(wall_seconds=2.0**61, cpu_seconds=1e-12)
    frame = messages.exec_frame(1, Command(argv=("x",), limits=limits))
    request = messages.to_request(frame[12:])
    assert (request.wall_ns, request.cpu_ns) == (2**63 - 1, 1)


def test_an_interpreter_is_asked_for_in_fields_of_exec() -> None:
    wanted = Interpreter(
        path="/usr/bin/python3", packages=("json",), environment={"A": "b"}, gid=7, open_files=64
    )
    (frame,) = wire.FrameDecoder(wire.TO_AGENT).feed(messages.prepare_frame(wanted))
    request = messages.to_request(frame.payload)
    assert (frame.channel, frame.type) == (0, wire.PREPARE)
    assert request.argv == (b"/usr/bin/python3", b"json")
    assert request.environment == (b"A=b",)
    assert (request.uid, request.gid, request.open_files) == (10001, 7, 64)
    (none,) = wire.FrameDecoder(wire.TO_AGENT).feed(messages.prepare_frame(None))
    assert none.payload == b""


def test_an_interpreter_that_does_not_fit_a_frame_is_refused() -> None:
    long = Interpreter(path="/usr/bin/python3", environment={"A": "x" * 20_000})
    with pytest.raises(InvalidInput, match="20,0"):
        messages.prepare_frame(long)
