"""Connects to the agent of a sandbox, and to nobody who pretends to be it."""

from __future__ import annotations

import socket
import struct
from typing import Final

from assay.domain.errors import SandboxGone
from assay.drivers.linux.confinement import SOCKET
from assay.drivers.linux.process import Process

_CREDENTIALS: Final = struct.Struct("3i")


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
