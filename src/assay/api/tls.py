"""TLS of the server: a certificate and its key, replaced while it runs."""

from __future__ import annotations

import ssl
from pathlib import Path

from assay.domain.errors import InvalidInput


class Certificate:
    """A certificate chain and its private key, in the context that the server listens with."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Read both files (PEM). Raises InvalidInput when they can't be used."""
        self._chain = chain
        self._key = key
        self.context = _context()
        self.reload()

    def reload(self) -> None:
        """Read the files anew: connections made from now on get them.

        Raises InvalidInput, and goes on with what it had, when they can't be used.
        """
        # First in a context of nobody: a wrong key would leave the server's own with half a pair.
        for context in (_context(), self.context):
            self._load(context)

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            # Without a password OpenSSL would ask at the terminal for one.
            context.load_cert_chain(self._chain, self._key, password=_no_password)
        except ssl.SSLError as error:
            raise InvalidInput(
                f"{self._chain} and {self._key} are no certificate with its key, in PEM and "
                "without a password",
                detail=str(error),
            ) from error
        except OSError as error:
            raise InvalidInput(
                f"can't read {self._chain} or {self._key}: {error.strerror}"
            ) from error


class Authorities:
    """Whose certificates are believed when another server is asked, read anew when it is said."""

    def __init__(self, file: Path | None = None) -> None:
        """`file` (PEM); None: the system's authorities. Raises InvalidInput."""
        self._file = file
        self._read: ssl.SSLContext | None = None
        if file is not None:
            self.reload()

    @property
    def context(self) -> ssl.SSLContext:
        """To ask with. The system's authorities are read by who needs them: it takes a while."""
        if self._read is None:
            self._read = ssl.create_default_context()
        return self._read

    def reload(self) -> None:
        """Raises InvalidInput, and goes on with what it had, when the file can't be used."""
        if self._file is None:
            self._read = None
            return
        try:
            self._read = ssl.create_default_context(cafile=str(self._file))
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput(
                f"{self._file} holds no certificates of authorities, in PEM, that can be read",
                detail=str(error),
            ) from error


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> bytes:
    return b""
