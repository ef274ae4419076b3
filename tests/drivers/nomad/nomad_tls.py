"""Certificates for a Nomad of one's own whose agents and clients show one another who they are."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

_OF_AGENTS = ("server.global.nomad", "client.global.nomad", "localhost", "127.0.0.1")
"""Nomad's agents know one another by the first two; who uses their API by the others."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    certificate: Path
    key: Path


class Certificates:
    """Those of an authority in a folder, as files."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._authority = trustme.CA()
        self.authority = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.authority))

    def pair(self, name: str, *addresses: str, ended: bool = False) -> Pair:
        """A certificate, whose time is over if that is said."""
        today = datetime.now(UTC)
        made = self._authority.issue_cert(
            *(addresses or (f"{name}.example.org",)), common_name=name,
            not_before=today - timedelta(days=3),
            not_after=today + timedelta(days=-1 if ended else 2),
        )  # fmt: skip
        found = Pair(certificate=self._folder / f"{name}.pem", key=self._folder / f"{name}.key")
        found.key.touch(mode=0o600)
        made.private_key_pem.write_to_path(str(found.key))
        found.certificate.unlink(missing_ok=True)
        for blob in made.cert_chain_pems:
            blob.write_to_path(str(found.certificate), append=True)
        return found

    def agent(self, *, ended: bool = False, addresses: tuple[str, ...] = _OF_AGENTS) -> Pair:
        """An agent's, which is both server and client."""
        return self.pair("agent", *addresses, ended=ended)

    def context(self, pair: Pair) -> ssl.SSLContext:
        """To ask an agent as that one, whatever the agent shows."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(pair.certificate, pair.key)
        return context


def settings(authority: Path, pair: Pair) -> dict[str, object]:
    """What an agent's configuration says of it."""
    return {
        "http": True, "rpc": True, "ca_file": str(authority),
        "cert_file": str(pair.certificate), "key_file": str(pair.key),
        "verify_server_hostname": True, "verify_https_client": True,
    }  # fmt: skip
