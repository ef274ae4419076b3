"""Where the nodes are: addresses, a file of them, or a name of the DNS that stands for all."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import InvalidInput, Unavailable

DEFAULT_PORT: Final = 7300
MOST_NODES: Final = 1000
_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})))"
    r"(?::(?P<port>[0-9]{1,5}))?"
)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Address:
    """Where one node listens, and the name that its certificate has to have."""

    host: str
    port: int
    name: str

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Sources:
    """All that says where nodes are; what several say counts once."""

    addresses: tuple[str, ...] = ()
    file: Path | None = None
    """One address a line; what comes after a # is for people."""
    dns: str = ""
    """NAME:PORT; each address of the name is a node, whose certificate has the name."""

    @property
    def said(self) -> bool:
        """Whether anything is."""
        return bool(self.addresses or self.file or self.dns)

    async def find(self) -> frozenset[Address]:
        """All nodes now. Raises InvalidInput for what is no address, Unavailable when the file or
        the DNS can't be asked: nobody knows then which nodes there are.
        """
        written = [*self.addresses, *(await asyncio.to_thread(_lines, self.file))]
        found = frozenset(parse(each) for each in written)
        if self.dns:
            found |= await _resolved(parse(self.dns))
        if len(found) > MOST_NODES:
            raise InvalidInput(f"there are {len(found)} nodes, of {MOST_NODES} at most")
        return found


def parse(text: str) -> Address:
    """HOST, HOST:PORT or [HOST]:PORT. Raises InvalidInput."""
    found = _ADDRESS.fullmatch(text)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        raise InvalidInput(
            f"{text[:80]!r} is no node's address; write one such as node1.example:{DEFAULT_PORT}"
        )
    host = found["six"] or found["host"]
    return Address(host=host, port=port, name=host)


def _lines(file: Path | None) -> list[str]:
    if file is None:
        return []
    try:
        text = file.read_text()
    except (OSError, ValueError) as error:
        raise Unavailable(f"the list of nodes {file} can't be read: {error}") from error
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


async def _resolved(wanted: Address) -> frozenset[Address]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(wanted.host, wanted.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"the DNS does not know {wanted.host}: {error}") from error
    return frozenset(
        Address(host=str(place[0]), port=wanted.port, name=wanted.host)
        for _, _, _, _, place in found
    )
