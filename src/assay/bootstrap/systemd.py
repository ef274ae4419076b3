"""What a service tells systemd, and gets from it: a datagram's worth, so without a library."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final

_FIRST_DESCRIPTOR: Final = 3


def notify(message: str, variables: Mapping[str, str] | None = None) -> None:
    """Send a state such as "READY=1" to who started us, if that is systemd. Never raises."""
    variables = os.environ if variables is None else variables
    address = variables.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(message.encode(), address.replace("@", "\0", 1))


def watchdog_seconds(variables: Mapping[str, str] | None = None) -> float | None:
    """How often systemd wants to hear "WATCHDOG=1" at least, or None."""
    variables = os.environ if variables is None else variables
    if variables.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        return int(variables["WATCHDOG_USEC"]) / 1e6 or None
    except (KeyError, ValueError):
        return None


async def feed_watchdog() -> None:
    """Tell systemd for good that the event loop turns, if it wants to hear that."""
    seconds = watchdog_seconds()
    while seconds is not None:
        notify("WATCHDOG=1")
        await asyncio.sleep(seconds / 3)


def inherited_socket(variables: Mapping[str, str] | None = None) -> socket.socket | None:
    """The listening socket of a .socket unit, or None."""
    variables = os.environ if variables is None else variables
    if variables.get("LISTEN_PID") != str(os.getpid()) or variables.get("LISTEN_FDS") != "1":
        return None
    os.set_inheritable(_FIRST_DESCRIPTOR, False)
    return socket.socket(fileno=_FIRST_DESCRIPTOR)
