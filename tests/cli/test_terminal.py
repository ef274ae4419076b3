"""`assay run` on a terminal: what a person sees and types."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest
from command_line import Assay, end_group, until

pytestmark = pytest.mark.root

FOREVER = "while :; do sleep 0.05; done"


class Screen:
    """A terminal, and `assay run` with it as its controlling one."""

    def __init__(self, assay: Assay, *arguments: str, rows: int = 30, columns: int = 100) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            assay.command("run", "--time", "30", *arguments),
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            cwd=assay.folder,
            env={**assay.environ, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def read_until(self, wanted: bytes, seconds: float = 60.0) -> bytes:
        """What came up to and with `wanted`, which is gone then."""
        deadline = time.monotonic() + seconds
        while wanted not in self.seen:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, self.seen
            self.seen += os.read(self.master, 65536)
        end = self.seen.index(wanted) + len(wanted)
        found, self.seen = self.seen[:end], self.seen[end:]
        return found

    def finish(self) -> int:
        with contextlib.suppress(OSError):
            while select.select([self.master], [], [], 0.3)[0] or self.process.poll() is None:
                if select.select([self.master], [], [], 0.1)[0]:
                    self.seen += os.read(self.master, 65536)
        return self.process.wait(timeout=60)

    @property
    def restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before


@pytest.fixture
def screens(assay: Assay) -> Iterator[list[Screen]]:
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        end_group(screen.process)
        os.close(screen.master)
        os.close(screen.slave)


@pytest.fixture
def show(assay: Assay, screens: list[Screen]):
    def start(*arguments: str) -> Screen:
        screens.append(Screen(assay, *arguments))
        return screens[-1]

    return start


def test_the_program_has_a_terminal_of_the_same_size(show) -> None:
    screen = show("--", "bash", "-c", "tty >/dev/null && echo is-a-tty $TERM; stty size")
    screen.read_until(b"is-a-tty xterm\r\n")
    screen.read_until(b"30 100\r\n")
    assert screen.finish() == 0
    assert screen.restored


def test_keys_are_echoed_once_and_lines_arrive(show) -> None:
    screen = show("--", "bash", "-c", 'echo "go on"; read line; echo "<$line>"')
    screen.read_until(b"go on\r\n")
    screen.type(b"hello\r")
    assert screen.read_until(b"<hello>\r\n") == b"hello\r\n<hello>\r\n"
    assert screen.finish() == 0


def test_control_c_is_the_programs_key(show) -> None:
    screen = show(
        "--", "bash", "-c", 'trap "echo caught" INT; echo go; while :; do read -t 0.05; done'
    )
    screen.read_until(b"go\r\n")
    for _ in range(3):
        screen.type(b"\x03")
        screen.read_until(b"caught\r\n")
    screen.process.terminate()
    assert screen.finish() == 130
    assert b"assay: cancelled" in screen.seen
    assert screen.restored


def test_control_d_ends_the_input(show) -> None:
    screen = show("--", "bash", "-c", "echo go; cat; echo done")
    screen.read_until(b"go\r\n")
    screen.type(b"\x04")
    screen.read_until(b"done\r\n")
    assert screen.finish() == 0


def test_a_new_size_reaches_the_program(show) -> None:
    screen = show(
        "--", "bash", "-c", 'trap "stty size" WINCH; echo go; while :; do sleep 0.05; done'
    )
    screen.read_until(b"go\r\n")
    screen.resize(40, 120)
    screen.read_until(b"40 120\r\n")
    os.kill(screen.process.pid, signal.SIGTERM)
    assert screen.finish() == 130


def test_the_terminal_is_raw_meanwhile_and_restored_whatever_happens(show, assay: Assay) -> None:
    screen = show("--", "bash", "-c", "echo go; sleep 20")
    screen.read_until(b"go\r\n")
    assert not termios.tcgetattr(screen.slave)[3] & (termios.ICANON | termios.ECHO)
    os.kill(assay.agent_pid(), signal.SIGKILL)
    assert screen.finish() == 117
    assert screen.restored
    assert b"assay: the agent died" in screen.seen


def test_a_pause_gives_the_terminal_back(show) -> None:
    screen = show("--", "bash", "-c", "echo go; read line; echo [$line]")
    screen.read_until(b"go\r\n")
    os.kill(screen.process.pid, signal.SIGTSTP)
    until(lambda: screen.restored)
    os.kill(screen.process.pid, signal.SIGCONT)
    until(lambda: not screen.restored)
    screen.type(b"back\r")
    screen.read_until(b"[back]\r\n")
    assert screen.finish() == 0


def test_an_own_message_begins_a_line(show) -> None:
    screen = show("--time", "0.5", "--", "bash", "-c", "printf no-newline; sleep 9")
    assert screen.finish() == 124
    assert b"no-newline\r\nassay: the program passed its time limit" in screen.seen


def test_errors_go_their_own_way(assay: Assay, screens: list[Screen]) -> None:
    errors = assay.folder / "errors"
    master, slave = pty.openpty()
    with errors.open("wb") as file:
        process = subprocess.run(
            assay.command("run", "--", "bash", "-c", "echo out; echo err >&2"),
            stdin=slave, stdout=slave, stderr=file, cwd=assay.folder, env=assay.environ,
            timeout=60, check=False,
        )  # fmt: skip
    assert process.returncode == 0
    assert os.read(master, 100) == b"out\r\n"
    assert errors.read_bytes() == b"err\n"
    os.close(master)
    os.close(slave)


def test_a_hang_up_ends_the_program(show, assay: Assay) -> None:
    screen = show("--", "bash", "-c", "echo go; sleep 25")
    screen.read_until(b"go\r\n")
    os.kill(screen.process.pid, signal.SIGHUP)
    assert screen.finish() == 130
    assert assay.left_over() == []
