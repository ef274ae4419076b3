"""A Python that waits, asked for in raw frames of an agent without control groups."""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from wire import Frame, Peer, RunningAgent, field, frame, running_agent

EXEC, EXIT, OUTPUT = 16, 17, 32
PREPARE, WAITS = 24, 25
PYTHON = "/usr/bin/python3"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not Path(PYTHON).exists(), reason="python3 is not there"),
]


def request(*argv: str, user: int = 10001, variables: tuple[str, ...] = ()) -> bytes:
    payload = b"".join(field(16, word.encode()) for word in argv)
    for each in ("PATH=/usr/bin:/bin", "HOME=/nowhere", *variables):
        payload += field(17, each.encode())
    return payload + field(19, user)


def prepared(peer: Peer, *packages: str, program: str = PYTHON) -> None:
    peer.send(frame(PREPARE, 0, request(program, *packages)))


def ran(peer: Peer, channel: int, *argv: str, **options: int) -> tuple[bytes, Frame]:
    """What a program says, and its end."""
    payload = request(*argv, **options) + field(18, b"/tmp") + field(24, 10_000_000_000)
    peer.send(frame(EXEC, channel, payload))
    said = b""
    while (found := peer.receive()) is not None:
        if found.type == OUTPUT and found.channel == channel:
            said += found.payload[9:]
        if found.type == EXIT and found.channel == channel:
            return said, found
    raise AssertionError("the agent closed")


@pytest.fixture
def here(agent_command: list[str], tmp_path: Path) -> Iterator[RunningAgent]:
    if len(agent_command) > 1:
        pytest.skip("Python is this machine's, and an emulator does not follow into it")
    with running_agent(agent_command, tmp_path) as running:
        yield running


@pytest.fixture
def script() -> Iterator[str]:
    """Not in pytest's own folder, which each pytest that starts closes to learners."""
    with tempfile.TemporaryDirectory(prefix="assay-script-") as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "script.py")
        path.write_text(
            "import os, sys\nprint('colorsys' in sys.modules, os.getuid(), len(sys.argv))"
        )
        yield str(path)


def test_it_serves_one_program_and_another_one_waits(here: RunningAgent, script: str) -> None:
    peer = here.peer()
    prepared(peer, "colorsys")
    for channel in (1, 2):
        assert peer.until(WAITS).payload == b""
        said, end = ran(peer, channel, PYTHON, script, "a")
        assert (said, end.number(32)) == (b"True 10001 2\n", 0)


def test_imports_are_no_processor_time_of_the_program(here: RunningAgent, script: str) -> None:
    peer = here.peer()
    prepared(peer, "asyncio", "unittest", "http.server", "ctypes", "email", "xml.dom", "tkinter")
    peer.until(WAITS)
    _, end = ran(peer, 1, PYTHON, script)
    (used,) = struct.unpack_from("<Q", end.fields[38][0])
    prepared(peer)
    _, anew = ran(peer, 2, PYTHON, "-c", "import asyncio, unittest, http.server, ctypes, email")
    (wanted,) = struct.unpack_from("<Q", anew.fields[38][0])
    assert 0 < used < wanted / 2


def test_another_user_and_root_get_one_that_is_started_for_them(
    here: RunningAgent, script: str
) -> None:
    peer = here.peer()
    prepared(peer, "colorsys")
    for channel, user in ((1, 10002), (2, 0)):
        peer.until(WAITS)
        said, _ = ran(peer, channel, PYTHON, script, user=user)
        assert said == f"False {user} 1\n".encode()


def test_a_host_that_connects_later_is_told_that_it_waits(here: RunningAgent, script: str) -> None:
    first = here.peer()
    prepared(first, "colorsys")
    first.until(WAITS)
    second = here.peer(epoch=2)
    second.until(WAITS)
    prepared(second, "colorsys")  # the same once more
    said, _ = ran(second, 1, PYTHON, script)
    assert said.startswith(b"True")


def test_after_three_other_programs_none_is_started_until_one_comes_for_it(
    here: RunningAgent, script: str
) -> None:
    peer = here.peer()
    prepared(peer, "colorsys")
    for channel in (1, 2, 3):
        peer.until(WAITS)
        ran(peer, channel, "/bin/true")
    peer.socket.settimeout(0.4)
    with pytest.raises(TimeoutError):
        peer.until(WAITS)
    peer.socket.settimeout(10)
    said, _ = ran(peer, 4, PYTHON, script)
    assert said.startswith(b"False")
    peer.until(WAITS)


def test_what_is_no_python_is_tried_three_times(here: RunningAgent, script: str) -> None:
    peer = here.peer()
    prepared(peer, program="/bin/false")
    time.sleep(0.3)
    said, _ = ran(peer, 1, PYTHON, script)
    assert said.startswith(b"False")
    assert ran(peer, 2, "/bin/false")[1].number(32) == 1


def test_none_is_left_when_it_is_not_wanted_any_more(here: RunningAgent) -> None:
    peer = here.peer()
    prepared(peer)
    peer.until(WAITS)
    peer.send(frame(PREPARE, 0))
    for channel in range(1, 30):  # a busy machine takes its time to end it
        look = "sleep 0.1; grep -l posix /proc/[0-9]*/cmdline"
        said, _ = ran(peer, channel, "/bin/sh", "-c", look)
        if said.count(b"\n") == 1:
            break
    assert said.count(b"\n") == 1  # its own


@pytest.mark.parametrize(
    "payload",
    [
        request("python3"),
        request(PYTHON, user=0),
        field(19, 10001),
        request(PYTHON, "x" * 20_000),
        request(PYTHON)[:-1],
    ],
    ids=["no path", "root", "no program", "long", "cut"],
)
def test_nonsense_ends_the_connection(here: RunningAgent, payload: bytes) -> None:
    peer = here.peer()
    peer.send(frame(PREPARE, 0, payload))
    refused = peer.receive()
    assert refused is not None
    assert refused.text(7) == "protocol"


def test_a_channel_does_not_ask_for_one(here: RunningAgent) -> None:
    peer = here.peer()
    peer.send(frame(PREPARE, 5, request(PYTHON)))
    refused = peer.receive()
    assert refused is not None
    assert refused.text(7) == "protocol"
