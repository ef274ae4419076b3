"""Who may talk to the agent."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from wire import (
    HELLO,
    PING,
    PONG,
    READY,
    REFUSED,
    RunningAgent,
    command,
    field,
    frame,
    running_agent,
)

pytestmark = pytest.mark.root


def test_the_secret_file_is_gone_before_anyone_can_connect(agent: RunningAgent) -> None:
    agent.peer()
    assert not agent.secret_file.exists()


def test_a_wrong_secret_is_refused(agent: RunningAgent) -> None:
    for wrong in (bytes(32), agent.secret[:31], agent.secret + b"x", b""):
        answer = agent.connect().hello(wrong)
        assert answer is not None
        assert answer.type == REFUSED
        assert answer.text(7) == "secret"


def test_another_version_is_refused(agent: RunningAgent) -> None:
    answer = agent.connect().hello(agent.secret, version=2)
    assert answer is not None
    assert answer.text(7) == "version"


def test_a_lower_epoch_is_refused_and_a_higher_one_takes_over(agent: RunningAgent) -> None:
    first = agent.peer(epoch=5)
    answer = agent.connect().hello(agent.secret, epoch=4)
    assert answer is not None
    assert answer.text(7) == "epoch"
    first.send(frame(PING, 0, b"still here"))
    assert first.until(PONG).payload == b"still here"
    agent.peer(epoch=6)
    assert first.receive() is None


@pytest.mark.parametrize(
    "bad",
    [
        frame(PING, 0),
        frame(HELLO, 1, b""),
        frame(HELLO, 0, b"\x01\xff\xff\xff\xff"),
        b"\xff" * 12,
        b"GET / HTTP/1.1\r\n\r\n",
    ],
    ids=["not a hello", "on a channel", "a field too long", "a huge frame", "another protocol"],
)
def test_anything_but_a_hello_is_cut_off(agent: RunningAgent, bad: bytes) -> None:
    peer = agent.connect()
    peer.send(bad)
    answer = peer.receive()
    assert answer is not None
    assert answer.type == REFUSED
    assert peer.receive() is None


@pytest.mark.parametrize(
    "bad",
    [
        frame(99, 1),
        frame(READY, 0),
        frame(16, 0),
        frame(PING, 0, bytes(65)),
        (70000).to_bytes(4, "little") + bytes(8),
        frame(PING, 0)[:9] + b"\1\0\0",
    ],
    ids=["unknown type", "wrong direction", "no channel", "long ping", "too long", "reserved"],
)
def test_a_broken_frame_ends_the_connection_but_no_execution(
    agent: RunningAgent, bad: bytes
) -> None:
    peer = agent.peer()
    peer.send(command(1, "sleep", "5") + bad)
    peer.until(REFUSED)
    assert peer.receive() is None
    again = agent.connect()
    ready = again.hello(agent.secret)
    assert ready is not None
    assert len(ready.fields[6]) == 1


def test_a_ninth_silent_connection_replaces_the_oldest(agent: RunningAgent) -> None:
    silent = [agent.connect() for _ in range(9)]
    assert silent[0].receive() is None
    assert silent[8].hello(agent.secret) is not None


@pytest.mark.slow
def test_a_connection_that_says_nothing_is_closed_after_five_seconds(agent: RunningAgent) -> None:
    before = time.monotonic()
    peer = agent.connect()
    peer.socket.settimeout(60)
    assert peer.receive() is None
    assert 4.5 < time.monotonic() - before < 30


def test_a_hello_in_pieces_with_a_command_behind_it_is_understood(agent: RunningAgent) -> None:
    peer = agent.connect()
    hello = frame(HELLO, 0, field(1, 1) + field(2, agent.secret) + field(3, 1))
    for byte in hello:
        peer.send(bytes([byte]))
    peer.send(command(1, "true"))
    assert peer.until(17).number(32) == 0


def test_a_sandbox_that_nobody_claims_ends_itself(agent_command: list[str], tmp_path: Path) -> None:
    with running_agent(agent_command, tmp_path, "--unclaimed", "1") as agent:
        peer = agent.peer()
        time.sleep(1.5)
        assert agent.process.poll() is None
        peer.close()
        assert agent.process.wait(timeout=30) == 0


def test_a_new_host_learns_the_highest_number_that_was_used(agent: RunningAgent) -> None:
    first = agent.peer()
    first.send(command(41, "true"))
    first.until(17)
    first.send(frame(18, 41))
    second = agent.connect()
    ready = second.hello(agent.secret)
    assert ready is not None
    assert ready.number(9) == 41
    assert 6 not in ready.fields


def test_a_bridge_joins_its_streams_to_the_socket(
    agent: RunningAgent, agent_command: list[str]
) -> None:
    hello = frame(HELLO, 0, field(1, 1) + field(2, agent.secret) + field(3, 1))
    bridge = subprocess.run(
        [*agent_command, "bridge", agent.socket],
        input=hello + frame(PING, 0, b"through"),
        capture_output=True,
        timeout=10,
        check=True,
    )
    assert bridge.stdout[8] == READY
    assert bridge.stdout.endswith(frame(PONG, 0, b"through"))


def test_a_bridge_to_nowhere_says_so(agent_command: list[str], tmp_path: Path) -> None:
    bridge = subprocess.run(
        [*agent_command, "bridge", tmp_path / "nowhere"], capture_output=True, check=False
    )
    assert bridge.returncode == 1
    assert b"No such file or directory" in bridge.stderr


def test_a_bridge_brings_the_secret_first_and_says_when_it_is_connected(
    agent_command: list[str], tmp_path: Path
) -> None:
    pipe, socket, secret = tmp_path / "pipe", tmp_path / "socket", bytes(range(32))
    hello = frame(HELLO, 0, field(1, 1) + field(2, secret) + field(3, 1))
    waiting = [*agent_command, "--socket", socket, "--secret-pipe", pipe]
    process = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", *waiting])
    try:
        for brought in (str(pipe), str(pipe), ""):  # who asks again finds no pipe any more
            bridge = subprocess.run(
                [*agent_command, "bridge", socket, brought],
                input=(secret if brought else b"") + hello,
                capture_output=True,
                timeout=15,
                check=True,
            )
            assert bridge.stdout.startswith(b"joined\n")
            assert bridge.stdout[len(b"joined\n") + 8] == READY
    finally:
        process.kill()
        process.wait()


def test_folders_are_closed_to_learners(agent_command: list[str], tmp_path: Path) -> None:
    shown = tmp_path / "alloc"
    shown.mkdir()
    shown.chmod(0o777)
    os.chown(shown, 65534, 65534)
    nowhere = str(tmp_path / "nowhere")
    with running_agent(agent_command, tmp_path, "--closed", str(shown), "--closed", nowhere):
        found = shown.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o700, 0, 0)


def test_folders_are_given_to_whom_they_are_meant_for(
    agent_command: list[str], tmp_path: Path
) -> None:
    shown = tmp_path / "work:space"
    shown.mkdir(mode=0o755)
    with running_agent(agent_command, tmp_path, "--owner", f"10001:10002:{shown}"):
        found = shown.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o755, 10001, 10002)


@pytest.mark.parametrize("given", ["10001:{link}", "10001:10001:{link}", "a:b:{link}", ""])
def test_what_is_no_folder_is_given_to_nobody(
    agent_command: list[str], tmp_path: Path, given: str
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    ended = subprocess.run(
        [*agent_command, "--socket", tmp_path / "s", "--secret-file", tmp_path / "t",
         "--owner", given.format(link=link)],
        capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    assert ended.returncode != 0


def test_a_folder_that_is_none_is_not_closed(agent_command: list[str], tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/")
    ended = subprocess.run(
        [*agent_command, "--socket", tmp_path / "s", "--secret-file", tmp_path / "t",
         "--closed", link],
        capture_output=True, timeout=10, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert b"link" in ended.stderr
