"""Under which address the caller sees this server, and from which one it asks.

A proxy in front says so in X-Forwarded-Proto, X-Forwarded-Host and X-Forwarded-For. Only those of
the configuration are believed: anybody can send these fields.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from assay.domain.errors import InvalidInput

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ANYWHERE: Final = (ipaddress.IPv4Network("0.0.0.0/0"), ipaddress.IPv6Network("::/0"))
"""For a request whose sender has shown that it may say where it comes from."""
_HOST: Final = re.compile(r"([A-Za-z0-9_.-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """A scheme ("http" or "https"), a host with its port, and the caller's address."""

    scheme: str
    host: str
    address: str

    def websocket(self, path: str) -> str:
        """The WebSocket URL of a path on this server."""
        return f"{'wss' if self.scheme == 'https' else 'ws'}://{self.host}{path}"


def networks(names: Sequence[str]) -> tuple[Network, ...]:
    """Read addresses and networks of proxies. Raises InvalidInput."""
    try:
        return tuple(ipaddress.ip_network(name) for name in names)
    except ValueError as error:
        raise InvalidInput(f"a trusted proxy is an address or a network: {error}") from error


def origin_of(
    headers: Mapping[str, str], *, scheme: str, peer: str, proxies: Sequence[Network] = ()
) -> Origin:
    """Say under which address `peer`, or who is behind it, has asked.

    Raises InvalidInput when the host is no name of a host: it becomes part of URLs.
    """
    host = headers.get("Host", "")
    if proxies and _is_among(peer, proxies):
        told = _last(headers, "X-Forwarded-Proto").lower()
        scheme = told if told in ("http", "https") else scheme
        host = _last(headers, "X-Forwarded-Host") or host
    address = address_of(headers, peer, proxies)
    if not _HOST.fullmatch(host):
        raise InvalidInput("the field Host is missing, or names no host")
    return Origin(scheme=scheme, host=host, address=address)


def _last(headers: Mapping[str, str], name: str) -> str:
    """What the nearest proxy has added; what stands before it, anybody may have sent."""
    return headers.get(name, "").rpartition(",")[2].strip()


def address_of(headers: Mapping[str, str], peer: str, proxies: Sequence[Network]) -> str:
    """From where a request comes: the last address on its way that is no proxy of ours."""
    address = peer
    if not proxies or not _is_among(peer, proxies):
        return address
    for told in reversed(headers.get("X-Forwarded-For", "").split(",")[-16:]):
        told = told.strip()
        if not _is_address(told):
            break
        address = told
        if not _is_among(told, proxies):
            break
    return address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_among(address: str, proxies: Sequence[Network]) -> bool:
    if not _is_address(address):
        return False
    known = ipaddress.ip_address(address)
    return any(known.version == network.version and known in network for network in proxies)
