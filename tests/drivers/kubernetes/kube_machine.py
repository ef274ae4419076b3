"""The inside of a cluster's namespaces: its process 1, and a way in for who is outside.

kube_machine.py inside FOLDER GROUP     becomes process 1
kube_machine.py relay DESCRIPTOR:PORT…  takes connections of sockets from outside to ports here
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from kube_configuration import NODE

from assay.drivers.linux import kernel
from assay.drivers.linux.cgroups_v1 import show_version_1
from assay.drivers.linux.layout import read_layout

READY = "ready"


def inside(folder: Path, size: str) -> None:
    """Furnish the namespaces, and then bury who dies in them."""
    work = folder / "work"
    kernel.mount("cluster", work, "tmpfs", options=f"size={size}m,mode=711")
    kernel.mount("proc", Path("/proc"), "proc")
    if hierarchies := read_layout().hierarchies:
        show_version_1(hierarchies, None)
    # What kubelet has under names that can't be chosen goes with these.
    for hidden in ("/var/log", "/run", "/opt", "/var/lib"):
        if Path(hidden).is_dir():
            kernel.mount("cluster", Path(hidden), "tmpfs", options="size=512m,mode=755")
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    # kubelet wants an address that is none of 127.0.0.0/8, wherever that is.
    for command in (("link", "set", "lo", "up"), ("addr", "add", f"{NODE}/32", "dev", "lo")):
        subprocess.run(["ip", *command], check=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    (work / READY).touch()
    print(READY, flush=True)
    while True:
        signal.pause()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def relay(port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Joins a connection to that port here."""

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_carry(reader, back), _carry(there, writer))
        finally:
            back.transport.abort()
            writer.transport.abort()

    return join


async def _relay(pairs: list[tuple[int, int]]) -> None:
    for descriptor, port in pairs:
        await asyncio.start_server(relay(port), sock=socket.socket(fileno=descriptor))
    await asyncio.Event().wait()


def main(what: str, *more: str) -> None:
    if what == "inside":
        inside(Path(more[0]), more[1])
    else:
        pairs = [each.partition(":") for each in more]
        asyncio.run(_relay([(int(descriptor), int(port)) for descriptor, _, port in pairs]))


if __name__ == "__main__":
    os.umask(0o022)
    main(*sys.argv[1:])
