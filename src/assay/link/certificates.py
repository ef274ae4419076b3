"""Who may speak with whom: both sides show a certificate of one authority, in TLS 1.3.

A folder holds `ca.pem`, `cert.pem` and `key.pem`. A node's certificate is one for servers of TLS
and names the addresses that it is reached at; that of a server of Assay is one for clients, and its
common name is whose the sandboxes are. So no node can pass for a server, and ask another node.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any, Final

from assay.domain.errors import Unavailable

CERTIFICATES: Final = ("ca.pem", "cert.pem", "key.pem")
REMEDY: Final = "assay node certificates --help says how they are made"
_LONGEST_NAME: Final = 64


def for_node(folder: Path) -> ssl.SSLContext:
    """What a node serves with. Raises Unavailable, with the remedy."""
    context = _context(folder, ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0  # nobody comes back with one
    return context


def for_server(folder: Path) -> ssl.SSLContext:
    """What a server asks nodes with; the certificate has to name where it connects to.

    Raises Unavailable, with the remedy.
    """
    return _context(folder, ssl.PROTOCOL_TLS_CLIENT)


def _context(folder: Path, protocol: int) -> ssl.SSLContext:
    authority, certificate, key = (folder / name for name in CERTIFICATES)
    try:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cafile=str(authority))
        context.load_cert_chain(certificate, key, password=_nothing)
    except (OSError, ValueError) as error:  # ssl.SSLError is one, too
        raise Unavailable(
            f"the certificates in {folder} can't be read: there must be {', '.join(CERTIFICATES)},"
            f" which belong to one another; {REMEDY}",
            detail=str(error),
        ) from error
    return context


def _nothing() -> str:
    """OpenSSL would ask the terminal for the password of an encrypted key."""
    raise ValueError("the key is encrypted")


def name_in(certificate: Any) -> str:
    """The common name in a certificate that was verified, as `SSLSocket.getpeercert` shows it.

    Empty when there is none that could be a name.
    """
    subject = certificate.get("subject", ()) if isinstance(certificate, dict) else ()
    names = [value for part in subject for key, value in part if key == "commonName"]
    name = str(names[0]) if len(names) == 1 else ""
    return name if len(name) <= _LONGEST_NAME and name.isprintable() else ""


def refused(place: str, folder: Path, error: ssl.SSLError) -> str:
    """Whose certificate it was that TLS did not come about with, and what to do."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"{place} shows a certificate that {folder / CERTIFICATES[0]} does not vouch for, or"
            f" not for this address ({error.verify_message}); it may be somebody else's machine:"
            " have its certificate name the address"
        )
    return f"{place} speaks no TLS 1.3, or not with us: {error.reason or error}"


def broken_off(place: str, folder: Path) -> str:
    """What it can mean that the other side closes as soon as it has seen our certificate."""
    return (
        f"{place} broke off: it is being stopped, or does not accept {folder / CERTIFICATES[1]};"
        " that must be a server's certificate, of the authority that the node was given"
    )
