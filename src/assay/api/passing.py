"""Which header fields pass through the reverse proxy, either way: pure functions.

A learner's server answers in the name of this one. Of what it sends only fields of a list pass:
no cookie, no field that would change how a browser treats this whole server (Alt-Svc,
Strict-Transport-Security, Clear-Site-Data), that would ask the reader for a password
(WWW-Authenticate), or that a proxy in front obeys (X-Accel-Redirect, X-Sendfile).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from multidict import CIMultiDict

from assay.api.origin import Origin

Fields = Iterable[tuple[str, str]]

ANSWERED: Final = frozenset(
    (
        "accept-ranges",
        "access-control-allow-headers",
        "access-control-allow-methods",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "access-control-max-age",
        "allow",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-range",
        "content-type",
        "etag",
        "expires",
        "last-modified",
        "location",
        "retry-after",
        "vary",
    )
)
"""Fields of an answer that pass."""
KEPT_BACK: Final = frozenset(
    (
        # What opens this server, or says who the caller is.
        "authorization",
        "cookie",
        "cookie2",
        "poseidon-token",
        "referer",
        "forwarded",
        "x-real-ip",
        "true-client-ip",
        "cf-connecting-ip",
        # What concerns one connection only.
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
"""Fields of a request that don't pass; nor do those of which a prefix is kept back."""
KEPT_BACK_PREFIXES: Final = ("proxy-", "x-forwarded-", "sec-websocket-")
ALWAYS: Final[Mapping[str, str]] = {
    # No same origin: its scripts see nothing of this server, in whoever's browser they run.
    "Content-Security-Policy": "sandbox allow-downloads allow-forms allow-modals allow-popups "
    "allow-scripts",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Fields of every answer of a learner's server."""
_PLAIN: Final = re.compile(r"[\t\x20-\x7e\x80-\uD7FF\uE000-\U0010FFFF]*")


def request_fields(fields: Fields, *, port: int, origin: Origin, prefix: str) -> CIMultiDict[str]:
    """What a learner's server gets of a request's fields; `prefix` is where it seems to be."""
    fields = list(fields)
    named = _named_by_connection(fields)
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in fields:
        lower = name.lower()
        if (
            lower not in KEPT_BACK
            and lower not in named
            and not lower.startswith(KEPT_BACK_PREFIXES)
            and _PLAIN.fullmatch(value)
        ):
            passed.add(name, value)
    passed["Host"] = f"localhost:{port}"
    passed["X-Forwarded-Proto"] = origin.scheme
    passed["X-Forwarded-Host"] = origin.host
    passed["X-Forwarded-Prefix"] = prefix
    return passed


def answer_fields(fields: Fields) -> CIMultiDict[str]:
    """What the caller gets of the fields of a learner's server."""
    passed: CIMultiDict[str] = CIMultiDict()
    for name, value in fields:
        if name.lower() in ANSWERED and _PLAIN.fullmatch(value):
            passed.add(name, value)
    passed.update(ALWAYS)
    return passed


def _named_by_connection(fields: Fields) -> frozenset[str]:
    return frozenset(
        option.strip().lower()
        for name, value in fields
        if name.lower() == "connection"
        for option in value.split(",")
    )
