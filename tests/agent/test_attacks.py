"""What an attacker found in the agent, kept as tests."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest
from wire import EXIT, INPUT, OUTPUT, WINDOW, RunningAgent, command, frame, number

pytestmark = pytest.mark.root

TERMINAL = struct.pack("<HH", 24, 80)


def cpu_seconds(agent: RunningAgent) -> float:
    children = Path(f"/proc/{agent.process.pid}/task/{agent.process.pid}/children").read_text()
    fields = Path(f"/proc/{children.split()[0]}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def nested(folder: Path, levels: int) -> None:
    here = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("a", dir_fd=here)
        deeper = os.open("a", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def test_a_terminal_that_nobody_holds_costs_no_processor_time(agent: RunningAgent) -> None:
    peer = agent.peer()
    script = "trap '' HUP; stty raw -echo; echo ready; exec <&- >&- 2>&-; sleep 30"
    peer.send(command(1, "sh", "-c", script, terminal=TERMINAL))
    window = int.from_bytes(peer.until(WINDOW).payload[:8], "little")
    peer.until(OUTPUT)
    for offset in range(0, window, 32768):
        peer.send(frame(INPUT, 1, number(offset) + b"x" * 32768))
    time.sleep(0.3)
    before = cpu_seconds(agent)
    time.sleep(1)
    assert cpu_seconds(agent) - before < 0.2


def test_a_program_may_let_go_of_its_terminal_and_open_it_again(agent: RunningAgent) -> None:
    peer = agent.peer()
    script = "exec <&- >&- 2>&-; sleep 0.2; echo back > /dev/tty; sleep 0.2"
    peer.send(command(1, "sh", "-c", script, terminal=TERMINAL))
    assert peer.until(OUTPUT).payload[9:] == b"back\r\n"
    assert peer.until(EXIT).number(32) == 0


def test_a_program_can_open_its_own_standard_output(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "sh", "-c", "echo again > /dev/stdout"))
    assert peer.until(OUTPUT).payload[9:] == b"again\n"


def test_a_learner_cannot_stop_a_file_operation(agent: RunningAgent) -> None:
    peer = agent.peer()
    peer.send(command(1, "put", "/tmp", builtin=1, stdin=1))
    peer.until(WINDOW)
    peer.send(command(2, "sh", "-c", "sleep 0.1; kill -STOP -1"))
    peer.until(EXIT, 2)
    peer.send(frame(INPUT, 1, number(0) + b"." + bytes(39)))
    assert peer.until(EXIT, 1).number(32) == 0


def test_trees_that_are_too_deep_are_refused_or_deleted_but_end_nobody(
    agent: RunningAgent, tmp_path: Path
) -> None:
    root = tmp_path / "deep"
    root.mkdir()
    nested(root, 1500)
    peer = agent.peer()
    peer.send(command(1, "list", str(root), ".", "100000", "100000", user=0, builtin=1))
    assert peer.until(EXIT, 1).number(32) == 1
    peer.send(command(2, "delete", str(root), "a", user=0, builtin=1))
    assert peer.until(EXIT, 2).number(32) == 0
    assert list(root.iterdir()) == []


def test_a_folder_that_is_there_keeps_its_rights(agent: RunningAgent, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir(mode=0o700)
    entry = struct.pack("<cBHHHIIIQqI", b"d", 0, 7, 0, 0, 0o755, 0, 0, 0, 0, 0) + b"private"
    peer = agent.peer()
    peer.send(command(1, "put", str(tmp_path), user=0, builtin=1, stdin=1))
    peer.until(WINDOW)
    peer.send(frame(INPUT, 1, number(0) + entry + b"." + bytes(39)))
    assert peer.until(EXIT).number(32) == 0
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o700
