"""Where an engine listens: a socket of this machine, or another machine by TLS or by SSH.

unix:///var/run/docker.sock
tcp://HOST:2376?certificates=/etc/assay/engine       ca.pem, cert.pem and key.pem are in there
ssh://USER@HOST:22/run/podman/podman.sock?configuration=/etc/assay/ssh_config
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from assay.domain.errors import InvalidInput
from assay.drivers.engine.endpoint import Endpoint, TlsEndpoint, UnixSocket
from assay.drivers.engine.tunnel import SshTunnel

_PORT_OF_TLS: Final = 2376
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
"""Of a user or machine; none that a program could take for an option."""
_OPTION: Final = {"tcp": "certificates", "ssh": "configuration"}


def endpoint(address: str, usual: str, state: Path) -> Endpoint:
    """What an address means. `usual` is where an engine's own socket is; `state` a folder of the
    driver's own. Raises InvalidInput.
    """
    try:
        parts = urlsplit(address)
        port, options = parts.port, _options(parts)
    except ValueError as error:
        raise InvalidInput(f"{address!r} is no engine's address: {error}") from error
    host = parts.hostname or ""
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return UnixSocket(Path(parts.path))
    if parts.scheme == "tcp" and host and not parts.username and parts.path in ("", "/"):
        folder = _absolute(options.get("certificates")) or Path.home() / ".docker"
        return TlsEndpoint(host, port or _PORT_OF_TLS, folder)
    if parts.scheme == "ssh" and _is_name(host) and _is_name(parts.username or "root"):
        return SshTunnel(
            machine=host,
            user=parts.username or "",
            port=port,
            far=parts.path if parts.path not in ("", "/") else urlsplit(usual).path,
            configuration=_absolute(options.get("configuration")),
            folder=state,
        )
    raise InvalidInput(
        f"{address!r} is no engine's address; there are unix:///PATH,"
        " tcp://HOST:PORT?certificates=/FOLDER and ssh://USER@HOST:PORT/PATH"
    )


def _options(parts: SplitResult) -> Mapping[str, str]:
    known = _OPTION.get(parts.scheme, "")
    found = parse_qs(parts.query, strict_parsing=True, max_num_fields=4) if parts.query else {}
    if set(found) - {known} or parts.fragment or parts.password:
        raise ValueError(f"it may have ?{known}=/PATH" if known else "it has no options")
    return {name: values[-1] for name, values in found.items()}


def _absolute(path: str | None) -> Path | None:
    if path is None:
        return None
    if not path.startswith("/") or "\0" in path:
        raise InvalidInput(f"{path!r} is not the absolute path of a file or folder")
    return Path(path)


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None
