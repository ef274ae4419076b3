"""What skopeo and buildah say when something goes wrong, in our own words and with a remedy."""

from __future__ import annotations

import re
from typing import Final

from assay.domain.errors import AssayError, DiskFull, ImageUnavailable, InvalidImage, Unavailable

_MOST_DETAIL: Final = 4000

_TABLE: Final[tuple[tuple[str, type[AssayError], str], ...]] = (
    (
        r"no space left on device|disk quota exceeded",
        DiskFull,
        "no room for {what}: free some (`assay env gc`), or keep images in another folder",
    ),
    (
        r"(?:open|stat|mkdir|chown) \S+: permission denied",
        Unavailable,
        "{what}: this user may not open a file that it takes; the detail names it",
    ),
    (
        r"unauthorized|authentication required|denied|status 40[13]|40[13] \(",
        ImageUnavailable,
        "{what}: the registry doesn't give it to just anybody; check the name, "
        "or `skopeo login` to the registry first",
    ),
    (
        r"toomanyrequests|too many requests|status 429",
        ImageUnavailable,
        "{what}: the registry has been asked too often from here; wait, or `skopeo login` first",
    ),
    (
        r"x509|certificate|tls: |remote error: tls",
        ImageUnavailable,
        "{what}: the registry's certificate isn't one that this machine trusts; "
        "put its authority into /etc/containers/certs.d",
    ),
    (
        r"server gave HTTP response to HTTPS client",
        ImageUnavailable,
        "{what}: the registry speaks plain HTTP, which is for registries on this machine only",
    ),
    (
        r"no such host|server misbehaving|name resolution",
        ImageUnavailable,
        "{what}: there is no such host; check the name, and this machine's DNS",
    ),
    (
        r"connection refused|network is unreachable|no route to host",
        ImageUnavailable,
        "{what}: nobody answers at the registry's address; check the name, port and network",
    ),
    (
        r"digest did not match|does not match|mismatch|invalid (?:tar|character|header)"
        r"|looking for|unexpected end of JSON|unsupported schema|loading tar|is empty",
        InvalidImage,
        "{what} is damaged: what came isn't what was announced",
    ),
    (
        r"timeout|deadline exceeded|connection reset|unexpected EOF|\bEOF\b",
        ImageUnavailable,
        "{what}: the connection to the registry broke off, or no answer came; try again",
    ),
    (
        r"manifest unknown|name unknown|not found|status 404|no such image|does not exist",
        ImageUnavailable,
        "{what}: it isn't there; check the name and the tag",
    ),
    (
        r"no such file or directory",
        ImageUnavailable,
        "{what}: there is no such file; check the path",
    ),
    (
        r"status 5\d\d|internal server error|bad gateway|service unavailable",
        ImageUnavailable,
        "{what}: the registry has a problem of its own; try again later",
    ),
)


def explain(what: str, words: str) -> AssayError:
    """Say what a program meant. `what` is the image; `words` the end of what was written."""
    for pattern, error, message in _TABLE:
        if re.search(pattern, words, re.IGNORECASE):
            return error(message.format(what=what), detail=words[-_MOST_DETAIL:])
    return ImageUnavailable(
        f"{what} can't be had; the detail has the reason", detail=words[-_MOST_DETAIL:]
    )
