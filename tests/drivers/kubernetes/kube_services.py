"""What pods know by fixed addresses, in place of kube-proxy and a cluster's DNS.

    kube_services.py FOLDER PORT      of the cluster in that folder, whose API server has that port

The API server is at the first address of services. Names of services are those of their pods: what
is asked for by others is not there.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import cast

from kube_configuration import API, DOMAIN, NAMES
from kube_machine import relay

_QUESTION = 12
"""Bytes before it."""
_IPV4, _FOUND, _NO_SUCH_NAME = 1, 0x8180, 0x8183
_SECONDS_KNOWN = 1


def name_and_end(message: bytes) -> tuple[str, int]:
    """The name that is asked for, and where its question ends. Raises LookupError."""
    place, labels = _QUESTION, []
    while length := message[place]:
        labels.append(message[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    return ".".join(labels).lower(), place + 5


def answer(message: bytes, addresses: list[str] | None, end: int) -> bytes:
    """What is said of a name with these addresses, or of none."""
    (kind,) = struct.unpack_from(">H", message, end - 4)
    found = addresses if addresses is not None and kind == _IPV4 else []
    flags = _NO_SUCH_NAME if addresses is None else _FOUND
    said = message[:2] + struct.pack(">HHHHH", flags, 1, len(found), 0, 0)
    said += message[_QUESTION:end]
    for each in found:
        said += struct.pack(">HHHLH", 0xC00C, _IPV4, 1, _SECONDS_KNOWN, 4) + socket.inet_aton(each)
    return said


class Names(asyncio.DatagramProtocol):
    """Answers who asks for a service."""

    def __init__(self, folder: Path, port: int) -> None:
        certificates = folder / "certificates"
        self._context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        self._context.load_cert_chain(certificates / "admin.pem", certificates / "admin.key")
        self._api = f"https://127.0.0.1:{port}/api/v1"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            name, end = name_and_end(data)
            self._transport.sendto(answer(data, self._of(name), end), addr)
        except (OSError, LookupError, ValueError, struct.error) as error:
            print(f"{addr}: {error!r}", file=sys.stderr, flush=True)

    def _of(self, name: str) -> list[str] | None:
        if not name.endswith(f".svc.{DOMAIN}"):
            return None
        service, _, namespace = name.removesuffix(f".svc.{DOMAIN}").partition(".")
        url = f"{self._api}/namespaces/{namespace}/endpoints/{service}"
        try:
            with urllib.request.urlopen(url, timeout=2, context=self._context) as response:
                subsets = json.load(response).get("subsets") or []
        except urllib.error.HTTPError:
            return None
        return [each["ip"] for part in subsets for each in part.get("addresses") or []]


def take_addresses() -> None:
    for address in (API, NAMES):
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)


async def main(folder: str, port: str) -> None:
    await asyncio.start_server(relay(int(port)), API, 443)
    await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Names(Path(folder), int(port)), local_addr=(NAMES, 53)
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    take_addresses()
    asyncio.run(main(*sys.argv[1:]))
