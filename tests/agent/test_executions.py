"""Executions, seen from the wire: without cgroups, so that the agent's other ways are tried."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from wire import (
    ACK,
    ATTACH,
    CANCEL,
    EXIT,
    FAILED,
    INPUT,
    OUTPUT,
    RELEASE,
    WINDOW,
    Peer,
    RunningAgent,
    command,
    frame,
    number,
    running_agent,
)

pytestmark = pytest.mark.root

MIB = 1 << 20


def test_output_comes_before_the_facts_and_counts_both_streams(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "sh", "-c", "echo out; sleep 0.05; echo err >&2; exit 3"))
    frames = [peer.receive() for _ in range(3)]
    assert [f.type for f in frames if f] == [OUTPUT, OUTPUT, EXIT]
    assert frames[0]
    assert frames[0].payload == number(0) + b"\1out\n"
    assert frames[1]
    assert frames[1].payload == number(4) + b"\2err\n"
    assert frames[2]
    assert frames[2].number(32) == 3


def test_each_of_many_refused_frames_is_answered_in_its_turn(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(b"".join(frame(RELEASE, channel) for channel in range(1, 101)))
    for channel in range(1, 101):
        assert peer.until(FAILED, channel).text(7) == "channel"


def test_a_channel_is_forgotten_only_when_it_is_released(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "true"))
    peer.until(EXIT)
    peer.send(command(1, "true"))
    assert peer.until(FAILED).text(7) == "channel"
    peer.send(frame(RELEASE, 1) + command(1, "true"))
    peer.until(EXIT)


def test_nothing_is_prepared_after_the_last_program_but_another_one_runs(
    agent: RunningAgent,
) -> None:
    peer = agent.peer()
    for channel, last, prepared in ((1, 0, 1), (2, 1, 0), (3, 1, 0), (4, 0, 1)):
        peer.send(command(channel, "true", last=last))
        assert peer.until(EXIT, channel).number(32) == 0
        time.sleep(0.05)  # that nothing comes can't be waited for
        deadline = time.monotonic() + 30
        while len(agent.children()) != prepared:
            assert time.monotonic() < deadline, agent.children()
            time.sleep(0.01)


def test_a_release_before_the_end_is_refused(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "sleep", "9") + frame(RELEASE, 1))
    assert peer.until(FAILED, 1).text(7) == "offset"


def test_output_is_kept_until_acknowledged_and_no_further_than_a_mebibyte(
    agent: RunningAgent,
) -> None:
    peer = agent.peer()
    peer.send(command(1, "sh", "-c", "yes | head -c 3000000"))
    got = 0
    while got < MIB:
        got += len(peer.until(OUTPUT).payload) - 9
    assert got == MIB
    peer.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        peer.receive()
    peer.socket.settimeout(10)
    peer.send(frame(ACK, 1, number(500_000)))
    assert int.from_bytes(peer.until(OUTPUT).payload[:8], "little") == MIB
    for wrong in (10 * MIB, 2**63):
        peer.send(frame(ACK, 1, number(wrong)))
        assert peer.until(FAILED).text(7) == "offset"


def output_until(peer: Peer, channel: int, end: int) -> None:
    """Receive output up to there, and see that then none comes."""
    reached = 0
    while reached < end:
        payload = peer.until(OUTPUT, channel).payload
        reached = int.from_bytes(payload[:8], "little") + len(payload) - 9
    assert reached == end
    peer.socket.settimeout(0.5)
    with pytest.raises(TimeoutError):
        peer.until(OUTPUT, channel)
    peer.socket.settimeout(10)


def test_beside_a_terminal_half_as_much_of_a_flood_is_under_way(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "sh", "-c", "echo up; exec cat", terminal=struct.pack("<HH", 24, 80)))
    peer.until(OUTPUT, 1)
    peer.send(command(2, "sh", "-c", "yes | head -c 3000000"))
    output_until(peer, 2, MIB // 2)
    peer.send(frame(ACK, 2, number(100_000)))
    output_until(peer, 2, MIB // 2 + 100_000)
    peer.send(frame(CANCEL, 1))  # and without one, all
    output_until(peer, 2, MIB + 100_000)


def test_a_second_connection_gets_all_that_was_not_acknowledged(agent: RunningAgent) -> None:
    first = agent.peer()
    first.send(command(1, "sh", "-c", "seq 1 200000"))
    seen = b""
    while len(seen) < 300_000:
        seen += first.until(OUTPUT).payload[9:]
    first.close()
    seen = seen[:250_000]
    second = agent.peer()
    second.send(frame(ATTACH, 1, number(len(seen))))
    while (got := second.receive()) is not None and got.type != EXIT:
        if got.type == OUTPUT:
            assert int.from_bytes(got.payload[:8], "little") == len(seen)
            seen += got.payload[9:]
            second.send(frame(ACK, 1, number(len(seen))))
    assert seen == b"".join(b"%d\n" % n for n in range(1, 200001))


def test_one_cannot_attach_to_what_was_given_up_or_never_was(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "echo", "hello"))
    peer.until(EXIT)
    peer.send(frame(ACK, 1, number(4)))
    for offset in (0, 3, 7):
        peer.send(frame(ATTACH, 1, number(offset)))
        assert peer.until(FAILED).text(7) == "offset"
    peer.send(frame(ATTACH, 2, number(0)))
    assert peer.until(FAILED).text(7) == "channel"
    peer.send(frame(ATTACH, 1, number(4)))
    assert peer.until(OUTPUT).payload == number(4) + b"\1o\n"[:1] + b"o\n"


def test_input_beyond_the_window_is_refused_and_repeated_input_is_ignored(
    agent: RunningAgent,
) -> None:
    peer = agent.peer()
    peer.send(command(1, "cat", stdin=1))
    window = int.from_bytes(peer.until(WINDOW).payload[:8], "little")
    assert window == 256 << 10
    peer.send(frame(INPUT, 1, number(0) + b"abc") + frame(INPUT, 1, number(1) + b"bcd"))
    seen = b""
    while len(seen) < 4:
        seen += peer.until(OUTPUT).payload[9:]
    assert seen == b"abcd"
    peer.send(frame(INPUT, 1, number(900) + b"gap"))
    assert peer.until(FAILED).text(7) == "offset"


def test_a_program_that_reads_nothing_holds_nobody_up(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "sleep", "30", stdin=1))
    window = int.from_bytes(peer.until(WINDOW).payload[:8], "little")
    for offset in range(0, window, 32768):
        peer.send(frame(INPUT, 1, number(offset) + bytes(32768)))
    before = time.monotonic()
    peer.send(command(2, "true"))
    peer.until(EXIT, 2)
    assert time.monotonic() - before < 10


def test_sixty_five_executions_are_one_too_many(agent: RunningAgent) -> None:
    peer = agent.peer()
    for channel in range(1, 66):
        peer.send(command(channel, "sleep", "30"))
    failed = peer.until(FAILED)
    assert failed.text(7) == "busy"
    assert failed.channel == 65


@pytest.mark.parametrize("together", [1, 2], ids=["alone", "beside another"])
def test_no_descendant_survives_without_any_cgroup(agent: RunningAgent, together: int) -> None:
    """Alone, kill(-1) by the learner's uid; beside another of the same uid, the stop-walk."""
    peer = agent.peer()
    for channel in range(2, together + 1):
        peer.send(command(channel, "sleep", "30"))
    script = "(setsid sh -c 'trap : TERM HUP; while :; do sleep 0.01; done' &) ; sleep 0.1"
    peer.send(command(1, "sh", "-c", script))
    peer.until(EXIT, 1)
    peer.send(command(99, "sh", "-c", "ps -eo args | grep -c '[t]rap'", user=0))
    assert peer.until(OUTPUT, 99).payload[9:] == b"0\n"


def test_cancel_ends_a_program_that_ignores_signals(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "sh", "-c", "trap '' TERM INT HUP; echo up; while :; do sleep 1; done"))
    peer.until(OUTPUT)
    peer.send(frame(CANCEL, 1))
    facts = peer.until(EXIT)
    assert facts.number(33) == 9
    assert facts.number(34) == 4


def test_what_is_ignored_where_the_agent_was_started_is_not_in_programs(
    agent_command: list[str], tmp_path: Path
) -> None:
    ignoring = ["sh", "-c", "trap '' HUP TERM USR1 PIPE; exec \"$@\"", "sh", *agent_command]
    with running_agent(ignoring, tmp_path) as agent:
        peer = agent.peer()
        for channel in range(1, 4):  # by a prepared process, and by others
            peer.send(command(channel, "grep", "^SigIgn", "/proc/self/status"))
            assert peer.until(OUTPUT, channel).payload[9:].split() == [b"SigIgn:", b"0" * 16]
            peer.until(EXIT, channel)


def test_a_new_owner_finds_every_execution_in_the_greeting(agent: RunningAgent) -> None:
    first = agent.peer()
    first.send(command(7, "sh", "-c", "echo hi; sleep 30") + command(8, "true"))
    first.until(EXIT, 8)
    second = agent.connect()
    ready = second.hello(agent.secret, epoch=2)
    assert ready is not None
    known = {int.from_bytes(e[:4], "little"): e[4] for e in ready.fields[6]}
    assert known == {7: 1, 8: 2}
