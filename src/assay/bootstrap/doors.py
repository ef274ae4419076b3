"""Who gets in: the listening socket with its certificate, and who has to show what."""

from __future__ import annotations

import errno
import socket
from typing import Final

from aiohttp import web

from assay.api.auth import Authenticator, may_be_open
from assay.api.tls import Certificate
from assay.bootstrap.systemd import inherited_socket
from assay.config.options import Address
from assay.config.server import ServerSettings
from assay.domain.errors import InUse, InvalidInput, Unavailable
from assay.storage.database import Storage

BACKLOG: Final = 4096
"""Connections that may wait while the server is busy, or not yet ready."""


async def admit(authenticator: Authenticator, settings: ServerSettings, storage: Storage) -> None:
    """Tell whoever checks tokens which there are: read the secret (again), look for tokens.

    Without any, everybody on this machine gets in, and nobody else. Raises InvalidInput, and
    leaves it as it was, when others could reach a server that asks for nothing.
    """
    secret = settings.secret()
    if secret is not None or await storage.tokens():
        authenticator.change(storage, shared_secret=secret)
        return
    if not may_be_open(settings.listen.host):
        raise InvalidInput(
            f"others can reach {settings.listen}, so they need a secret: set token_file, or make"
            " a token first: assay token create NAME"
        )
    authenticator.change(None, shared_secret=None)


class Door:
    """The socket. From the beginning of a `with` block connections wait; `open` lets them in."""

    def __init__(self, settings: ServerSettings) -> None:
        self._certificate: Certificate | None = None
        if settings.tls_certificate is not None and settings.tls_key is not None:
            self._certificate = Certificate(settings.tls_certificate, settings.tls_key)
        self._advertise = settings.advertise
        self._socket = inherited_socket() or bind(settings.listen)
        self._socket.listen(BACKLOG)

    def __enter__(self) -> Door:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def tls(self) -> bool:
        """Whether clients come by TLS."""
        return self._certificate is not None

    @property
    def url(self) -> str:
        """Where the server is, seen from this machine."""
        scheme = "https" if self.tls else "http"
        if self._socket.family == socket.AF_UNIX:
            return f"{scheme}+unix://{self._socket.getsockname()}"
        host, port = self._socket.getsockname()[:2]
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound to
        return f"{scheme}://{Address(host=here, port=port)}"

    @property
    def advertised(self) -> str:
        """Where other servers of the database reach this one; "" where it is alone."""
        return self._advertise.url(tls=self.tls) if self._advertise is not None else ""

    async def open(self, runner: web.AppRunner) -> None:
        """Let in who waits."""
        context = None if self._certificate is None else self._certificate.context
        await web.SockSite(runner, self._socket, ssl_context=context, backlog=BACKLOG).start()

    def reload(self) -> None:
        """Read the certificate again. Raises InvalidInput: the old one stays."""
        if self._certificate is not None:
            self._certificate.reload()


def bind(address: Address) -> socket.socket:
    """A socket at this address. Raises InUse, or Unavailable."""
    made = None
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, place = found[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(place)
        made.setblocking(False)
    except OSError as error:
        if made is not None:
            made.close()
        in_use = error.errno == errno.EADDRINUSE
        remedy = "another server has it" if in_use else "it must be one of this machine"
        error_kind = InUse if in_use else Unavailable
        raise error_kind(
            f"cannot listen on {address}: {error.strerror}; {remedy}: choose one with --listen"
        ) from error
    return made
