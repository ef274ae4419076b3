"""Where a message may go: a teacher's URL must not open what only this server can reach."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from yarl import URL

from assay.domain.errors import InvalidInput

MOST_LETTERS: Final = 2000
_METADATA: Final = ip_address("168.63.129.16")
"""A cloud's own services, at an address that looks like anybody's."""
_ELSEWHERE: Final = tuple(
    IPv6Network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)
"""Addresses that stand for an IPv4 address, which a gateway might go on to."""

Address = IPv4Address | IPv6Address


def plain(text: str) -> Address:
    """An address; one of IPv4 that is written as IPv6 is what it is. Raises ValueError."""
    found = ip_address(text.partition("%")[0])
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def is_among(address: Address, networks: Sequence[str]) -> bool:
    """Whether it is of one of the networks."""
    return any(address in ip_network(network) for network in networks)


def is_public(address: Address) -> bool:
    """Whether it is anybody's: not private, shared, local, reserved, nor stands for such."""
    if address == _METADATA or not address.is_global or address.is_multicast:
        return False
    if isinstance(address, IPv4Address):
        return not address.is_reserved
    special = address.is_reserved or address.is_site_local
    return not special and not any(address in net for net in _ELSEWHERE)


def refusal(text: str, *, encrypted: bool, allowed: Sequence[str]) -> str | None:
    """Why nothing is sent to an address; None: it may be. `allowed`: the operator's networks."""
    try:
        address = plain(text)
    except ValueError:
        return "the address is none"
    if is_among(address, allowed):
        return None
    if not is_public(address):
        return "the address is not public: an operator can allow it by webhook_networks"
    return None if encrypted else "a public address needs https"


def checked(text: str, allowed: Sequence[str]) -> str:
    """A URL that messages may be sent to, as far as its text tells. Raises InvalidInput."""
    try:
        url = URL(text)
        port = url.port
    except ValueError as error:
        raise InvalidInput(f"this is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or not port:
        raise InvalidInput("a webhook's URL begins with https:// and a host")
    if len(text) > MOST_LETTERS or not text.isascii() or not text.isprintable():
        raise InvalidInput(f"a webhook's URL has at most {MOST_LETTERS} letters, of ASCII")
    if url.user or url.password or url.fragment:
        raise InvalidInput("a webhook's URL has no user, no password, and no fragment")
    if url.scheme == "http" and not allowed:
        raise InvalidInput("a webhook's URL begins with https://")
    if _is_literal(url.host) and (
        why := refusal(url.host, encrypted=url.scheme == "https", allowed=allowed)
    ):
        raise InvalidInput(why)
    return text


def _is_literal(host: str) -> bool:
    try:
        plain(host)
    except ValueError:
        return False
    return True
