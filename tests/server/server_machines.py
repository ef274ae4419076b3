"""Machines for servers and nodes: a network namespace each, joined by a switch that cuts any off.

A server's machine has a mount namespace besides: with a machine id of its own, and without the
folders of the others.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PRIVATE: Final = """
mount --bind "$1" /etc/machine-id && shift
while [ "$1" != -- ]; do mount -t tmpfs -o size=4k none "$1" || exit 1; shift; done
shift
exec "$@"
"""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One of them, with a cable that leads to the switch."""

    name: str
    switch: str
    address: str

    def cut(self) -> None:
        """Pull the cable out: nobody is told."""
        ip("-netns", self.switch, "link", "set", self.name, "down")

    def mend(self) -> None:
        """Plug it in again."""
        ip("-netns", self.switch, "link", "set", self.name, "up")

    def enter(self, own: Path, others: Sequence[Path]) -> tuple[str, ...]:
        """How a command becomes one of this machine, where `others` are empty; `own` is a folder
        for its identity.
        """
        identity = own / "machine-id"
        if not identity.exists():
            identity.write_text(secrets.token_hex(16))
        return (
            "nsenter", f"--net=/run/netns/{self.name}",
            "unshare", "--mount", "--propagation", "private",
            "sh", "-c", _PRIVATE, "sh", str(identity), *map(str, others), "--",
        )  # fmt: skip


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=30)


@contextlib.contextmanager
def machines(count: int) -> Iterator[list[Machine]]:
    """So many, and this one with them; gone at the end."""
    with contextlib.ExitStack() as stack:
        net = f"198.18.{os.getpid() % 250}"  # of the range for measurements (RFC 2544)
        switch = stack.enter_context(_namespace(f"as{secrets.token_hex(3)}"))
        ip("-netns", switch, "link", "add", "bridge", "type", "bridge")
        ip("-netns", switch, "link", "set", "bridge", "up")
        # This machine's end goes with the namespace at the other one.
        ip("link", "add", switch, "type", "veth", "peer", "name", "here", "netns", switch)
        _join(switch, "here")
        ip("address", "add", f"{net}.1/24", "dev", switch)
        ip("link", "set", switch, "up")
        made = []
        for number in range(count):
            name = stack.enter_context(_namespace(f"{switch}m{number}"))
            ip("-netns", switch, "link", "add", name, "type", "veth", "peer", "name", "cable",
               "netns", name)  # fmt: skip
            _join(switch, name)
            address = f"{net}.{10 + number}"
            for command in (
                ("address", "add", f"{address}/24", "dev", "cable"),
                ("link", "set", "cable", "up"),
                ("link", "set", "lo", "up"),
            ):
                ip("-netns", name, *command)
            made.append(Machine(name=name, switch=switch, address=address))
        yield made


def _join(switch: str, cable: str) -> None:
    ip("-netns", switch, "link", "set", cable, "master", "bridge")
    ip("-netns", switch, "link", "set", cable, "up")


@contextlib.contextmanager
def _namespace(name: str) -> Iterator[str]:
    ip("netns", "add", name)
    try:
        yield name
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            ip("netns", "del", name)
