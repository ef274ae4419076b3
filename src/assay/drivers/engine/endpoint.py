"""Where an engine listens: a socket of this machine, or another machine's port by TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import Final

from assay.domain.errors import DriverUnavailable

BYTES_AT_ONCE: Final = 262_144
CERTIFICATES: Final = ("ca.pem", "cert.pem", "key.pem")

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Endpoint(ABC):
    """A place to connect to, in a calling thread or by the event loop."""

    place: str
    """For people to read."""
    doubt: str = ""
    """What else can be the matter, where it breaks off."""
    is_here: bool = False
    """Whether the engine's files and processes are this machine's."""

    @abstractmethod
    def connect(self, seconds: float) -> socket.socket:
        """A connection that waits at most `seconds` for anything. Raises OSError, or
        DriverUnavailable with the remedy.
        """

    @abstractmethod
    async def open(self, seconds: float) -> Streams:
        """The same, for the event loop."""

    def refused(self, error: ssl.SSLError) -> str:
        """What it means, in a sentence, that TLS did not come about."""
        return f"{self.place} speaks no TLS: {error.reason or error}"

    def said(self) -> str:
        """What whoever leads there had to say of late."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """Let go of what all connections have in common."""


class UnixSocket(Endpoint):
    """A socket of this machine."""

    is_here = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.place = str(path)

    def connect(self, seconds: float) -> socket.socket:
        """A connection. Raises OSError."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(seconds)
            connection.connect(str(self.path))
        except BaseException:
            connection.close()
            raise
        return connection

    async def open(self, seconds: float) -> Streams:
        """The same, for the event loop."""
        async with asyncio.timeout(seconds):
            return await asyncio.open_unix_connection(str(self.path), limit=BYTES_AT_ONCE)

    def close(self) -> None:
        """Connections have nothing in common."""


class TlsEndpoint(Endpoint):
    """A port of another machine. Both sides show certificates that one authority has signed.

    There is no connection without: who may ask an engine is root on its machine.
    """

    def __init__(self, host: str, port: int, certificates: Path) -> None:
        self.place = f"{host}:{port}"
        self._host, self._port = host, port
        self._certificates = certificates
        self.doubt = (
            f", or does not accept {certificates / CERTIFICATES[1]}: have it signed by the"
            " authority that the engine was given (--tlscacert)"
        )

    @cached_property
    def _context(self) -> ssl.SSLContext:
        authority, certificate, key = (self._certificates / name for name in CERTIFICATES)
        try:
            context = ssl.create_default_context(cafile=str(authority))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(certificate, key)
        except (OSError, ValueError) as error:  # ssl.SSLError is one, too
            raise DriverUnavailable(
                f"the certificates for {self.place} can't be read: {self._certificates} is to hold"
                f" {', '.join(CERTIFICATES)}; name another folder: tcp://HOST:PORT?certificates=…",
                detail=str(error),
            ) from error
        return context

    def connect(self, seconds: float) -> socket.socket:
        """A connection. Raises OSError or DriverUnavailable."""
        context = self._context
        try:
            plain = socket.create_connection((self._host, self._port), timeout=seconds)
        except OSError as error:
            raise self._unreachable(error) from error
        try:
            return context.wrap_socket(plain, server_hostname=self._host)
        except BaseException:
            plain.close()
            raise

    async def open(self, seconds: float) -> Streams:
        """The same, for the event loop."""
        context = self._context
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.open_connection(
                    self._host, self._port, ssl=context, limit=BYTES_AT_ONCE
                )
        except ssl.SSLError:
            raise
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: OSError) -> DriverUnavailable:
        return DriverUnavailable(
            f"no engine can be reached at {self.place}: it may be off, listen elsewhere, or stand"
            f" behind a firewall; try: openssl s_client -connect {self.place}",
            detail=str(error) or repr(error),
        )

    def refused(self, error: ssl.SSLError) -> str:
        """Whose certificate it was, and what to do."""
        authority = self._certificates / CERTIFICATES[0]
        if isinstance(error, ssl.SSLCertVerificationError):
            return (
                f"{self.place} shows a certificate that {authority} does not vouch for"
                f" ({error.verify_message}); it may be somebody else's machine: put the right"
                " authority there, or have the engine's certificate name this host"
            )
        # The other side speaks last: what it thinks of our certificate comes after all is done.
        if isinstance(error, ssl.SSLEOFError) or "ALERT" in (error.reason or "").upper():
            return f"{self.place} broke off; it was stopped{self.doubt}"
        return super().refused(error)

    def close(self) -> None:
        """Connections have nothing in common."""
