"""What else there is in a sandbox's folder where it is a machine:

token     what connections to it begin with; the link's, not the agent's secret
port.N    a socket of the host that leads to one of the machine's ports
taken.N   locked by whoever is connected there
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from assay.domain.errors import SandboxGone
from assay.drivers.linux.folder import SandboxFolder


class MachineFolder(SandboxFolder):
    """One sandbox on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._token = path / "token"

    def note_token(self, token: bytes) -> None:
        """Remember it."""
        self._token.touch(0o600)
        self._token.write_bytes(token)

    def token(self) -> bytes:
        """What connections begin with. Raises SandboxGone."""
        try:
            return self._token.read_bytes()
        except FileNotFoundError as error:
            raise SandboxGone("the sandbox is gone, or only half made") from error

    @contextlib.contextmanager
    def listening(self, count: int) -> Iterator[list[socket.socket]]:
        """Make the sockets of so many ports; the monitor keeps them open after us."""
        with contextlib.ExitStack() as stack, self._reached() as reached:
            listeners = []
            for number in range(count):
                listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                listeners.append(stack.enter_context(listener))
                listener.bind(f"{reached}/port.{number}")
                listener.listen(1)
                (self.path / f"taken.{number}").touch(0o600)
            yield listeners

    @contextlib.contextmanager
    def first(self, ports: Sequence[socket.socket]) -> Iterator[socket.socket | None]:
        """A connection to the first of its ports, if there are any, for who has just made them."""
        dialled = self.dial() if ports else None
        if dialled is None:
            yield None
            return
        connection, lock = dialled
        try:
            with connection:
                yield connection
        finally:
            os.close(lock)

    def connected(self, name: str) -> socket.socket:
        """Connect to a socket in it. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self._reached() as reached:
                connection.connect(f"{reached}/{name}")
        except BaseException:
            connection.close()
            raise
        return connection

    def clear(self) -> None:
        """Remove the sockets, of a machine that is no more."""
        for path in (*self.path.glob("port.*"), *self.path.glob("taken.*")):
            path.unlink(missing_ok=True)

    def dial(self) -> tuple[socket.socket, int] | None:
        """Connect to a port that nobody else is connected to, with the lock that says so.

        None when all are taken. Raises SandboxGone.
        """
        try:
            for number in range(len(list(self.path.glob("taken.*")))):
                lock = os.open(self.path / f"taken.{number}", os.O_RDONLY | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return self.connected(f"port.{number}"), lock
                except BlockingIOError:
                    os.close(lock)
                except BaseException:
                    os.close(lock)
                    raise
        except OSError as error:
            raise SandboxGone("the machine no longer listens", detail=str(error)) from error
        return None

    @contextlib.contextmanager
    def _reached(self) -> Iterator[str]:
        """A short path to it: those of sockets have 107 bytes at most."""
        folder = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{folder}"
        finally:
            os.close(folder)
