"""Connects to the agent of a sandbox, and to nobody who pretends to be it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import Final

from assay.domain.errors import CreateTimeout, RuntimeFailed, SandboxGone
from assay.drivers.linux.confinement import SOCKET
from assay.drivers.linux.folder import SandboxFolder
from assay.drivers.linux.process import Process

_CREDENTIALS: Final = struct.Struct("3i")
_SECONDS_TO_LISTEN: Final = 10.0
_SECONDS_BETWEEN_LOOKS: Final = 0.0005


def dial(agent: Process) -> socket.socket:
    """Open a connection to the agent's socket, which only its own mounts hold.

    Raises FileNotFoundError or ConnectionRefusedError before the agent listens, BlockingIOError
    while too many others wait for it, and SandboxGone when somebody else listens there: a program
    that runs as the sandbox's root could put a socket (or a link to one of the host's) in place of
    the agent's. The kernel knows who listens.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.connect(f"/proc/{agent.pid}/root{SOCKET}")
        answer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        listener, _, _ = _CREDENTIALS.unpack(answer)
        if listener != agent.pid or not agent.runs():
            raise SandboxGone("somebody else listens in the agent's place; destroy the sandbox")
    except BaseException:
        connection.close()
        raise
    return connection


def wait_until_listening(
    process: Process, folder: SandboxFolder, abandoned: threading.Event
) -> None:
    """Return when the agent accepts connections. Raises RuntimeFailed or CreateTimeout."""
    deadline = time.monotonic() + _SECONDS_TO_LISTEN
    while True:
        try:
            dial(process).close()
        except (FileNotFoundError, ConnectionRefusedError):
            if not process.runs():
                raise ended_at_once(folder) from None
        else:
            return
        if abandoned.is_set() or time.monotonic() > deadline:
            raise CreateTimeout("the agent does not listen", detail=folder.log())
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def ended_at_once(folder: SandboxFolder) -> RuntimeFailed:
    """The error when process 1 is gone, with what it had to say."""
    return RuntimeFailed("the agent ended as soon as it was started", detail=folder.log())
