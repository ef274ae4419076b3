"""Who a machine is: what a restored one is told before anything runs in it (agent/guest.c)."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

from assay.domain.errors import CreateTimeout, RuntimeFailed

READY: Final = b"ready"
STARTED: Final = b"started"
_ENTROPY_BYTES: Final = 64
_SECONDS_BETWEEN_LOOKS: Final = 0.05


def identity(token: bytes, completion: bytes) -> bytes:
    """The message. Its random bytes, time and machine id are this machine's alone."""
    now = time.time_ns().to_bytes(8, "little")
    who = token + secrets.token_bytes(_ENTROPY_BYTES) + now + secrets.token_hex(16).encode()
    message = who + completion
    return len(message).to_bytes(4, "little") + message


class Watch:
    """How long to wait for a machine, and what makes waiting vain."""

    def __init__(self, abandoned: threading.Event, log: Callable[[], str]) -> None:
        self._abandoned = abandoned
        self._log = log

    def look(self, has_ended: Callable[[], bool], deadline: float) -> None:
        """Raises RuntimeFailed when the machine has ended, and CreateTimeout."""
        if has_ended():
            raise RuntimeFailed("the machine ended as soon as it was started", detail=self._log())
        if self._abandoned.is_set() or time.monotonic() > deadline:
            raise CreateTimeout("the machine is not ready in time", detail=self._log())


def hear(
    connection: socket.socket,
    wanted: bytes,
    watch: Watch,
    has_ended: Callable[[], bool],
    seconds: float,
) -> None:
    """Wait for a word of the machine. Raises what `Watch.look` does, RuntimeFailed for another."""
    heard, deadline = b"", time.monotonic() + seconds
    connection.settimeout(_SECONDS_BETWEEN_LOOKS)
    while len(heard) < len(wanted) and wanted.startswith(heard):
        try:
            data = connection.recv(512)
        except TimeoutError:
            watch.look(has_ended, deadline)
            continue
        except OSError:
            data = b""
        if not data:
            watch.look(has_ended, deadline)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        heard += data
    if heard != wanted:
        text = heard.decode(errors="replace")
        raise RuntimeFailed("the machine could not make its sandbox", detail=text)
