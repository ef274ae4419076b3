"""A second, minimal reading of docs/agent-protocol.md, independent of the client's."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

HELLO, READY, REFUSED, PING, PONG = 1, 2, 3, 4, 5
EXEC, EXIT, RELEASE, SIGNAL, RESIZE, CANCEL, ATTACH, FAILED = range(16, 24)
OUTPUT, ACK, INPUT, END, WINDOW = range(32, 37)


class Frame(NamedTuple):
    type: int
    channel: int
    payload: bytes

    @property
    def fields(self) -> dict[int, list[bytes]]:
        found: dict[int, list[bytes]] = {}
        rest = self.payload
        while rest:
            tag, length = struct.unpack_from("<BI", rest)
            found.setdefault(tag, []).append(rest[5 : 5 + length])
            rest = rest[5 + length :]
        return found

    def text(self, tag: int) -> str:
        return self.fields[tag][-1].decode()

    def number(self, tag: int) -> int:
        return int(struct.unpack_from("<Q", self.fields[tag][-1])[0])


def frame(type_: int, channel: int, payload: bytes = b"") -> bytes:
    return struct.pack("<IIBxxx", len(payload), channel, type_) + payload


def field(tag: int, value: bytes | int) -> bytes:
    raw = struct.pack("<Q", value) if isinstance(value, int) else value
    return struct.pack("<BI", tag, len(raw)) + raw


def number(value: int) -> bytes:
    return struct.pack("<Q", value)


def command(channel: int, *argv: str, user: int = 10001, **fields: bytes | int) -> bytes:
    tags = {
        "terminal": 21,
        "stdin": 23,
        "wall": 24,
        "cpu": 25,
        "output": 26,
        "builtin": 28,
        "last": 29,
    }
    payload = b"".join(field(16, word.encode()) for word in argv)
    payload += field(17, b"PATH=/usr/bin:/bin") + field(18, b"/") + field(19, user)
    payload += b"".join(field(tags[name], value) for name, value in fields.items())
    return frame(EXEC, channel, payload)


class Peer:
    """One connection to an agent, with raw frames."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.socket.settimeout(10)
        self._have = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hello(self, secret: bytes, epoch: int = 1, version: int = 1) -> Frame | None:
        self.send(frame(HELLO, 0, field(1, version) + field(2, secret) + field(3, epoch)))
        return self.receive()

    def receive(self) -> Frame | None:
        """The next frame, or None when the agent has closed the connection."""
        while len(self._have) < 12 or len(self._have) < 12 + self._length():
            try:
                more = self.socket.recv(1 << 20)
            except ConnectionResetError:
                return None
            if not more:
                return None
            self._have += more
        end = 12 + self._length()
        _, channel, type_ = struct.unpack_from("<IIB", self._have)
        found = Frame(type_, channel, self._have[12:end])
        self._have = self._have[end:]
        return found

    def until(self, type_: int, channel: int | None = None) -> Frame:
        while (found := self.receive()) is not None:
            if found.type == type_ and channel in (None, found.channel):
                return found
        raise AssertionError(f"the agent closed before a frame of type {type_}")

    def _length(self) -> int:
        return int(struct.unpack_from("<I", self._have)[0])

    def close(self) -> None:
        self.socket.close()


class RunningAgent(NamedTuple):
    process: subprocess.Popen[bytes]
    socket: Path
    secret: bytes
    secret_file: Path
    peers: list[Peer]

    def children(self) -> list[int]:
        """The agent's own processes."""
        (agent,) = _children(self.process.pid)
        return _children(agent)

    def connect(self) -> Peer:
        """A connection that has said nothing yet."""
        peer = Peer(self.socket)
        self.peers.append(peer)
        return peer

    def peer(self, epoch: int = 1) -> Peer:
        """The connection that the agent listens to."""
        peer = self.connect()
        answer = peer.hello(self.secret, epoch)
        assert answer is not None
        assert answer.type == READY
        return peer


def _children(process: int) -> list[int]:
    return [
        int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()
    ]


def wait_until_it_listens(path: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            Peer(path).close()
        except OSError:
            assert time.monotonic() < deadline, "the agent does not listen"
            time.sleep(0.005)
        else:
            return


@contextmanager
def running_agent(
    program: Sequence[str | Path], folder: Path, *more: str
) -> Iterator[RunningAgent]:
    """The agent as process 1 of its own process namespace, without any other isolation.

    `program` is the agent's, or what runs it and the agent's.
    """
    secret, secret_file, path = os.urandom(32), folder / "secret", folder / "socket"
    secret_file.write_bytes(secret)
    process = subprocess.Popen(
        [
            "unshare",
            "--pid",
            "--fork",
            "--mount-proc",
            *map(str, program),
            "--socket",
            str(path),
            "--secret-file",
            str(secret_file),
            *more,
        ]
    )
    try:
        wait_until_it_listens(path)
        yield (running := RunningAgent(process, path, secret, secret_file, []))
        for peer in running.peers:
            peer.close()
    finally:
        # Not by --kill-child: an agent that took on a learner's user for a moment, to kill all that
        # is his, is not told of its parent's end any more.
        with suppress(FileNotFoundError, ProcessLookupError):  # one that has ended
            for child in _children(process.pid):
                os.kill(child, signal.SIGKILL)
        process.wait()
