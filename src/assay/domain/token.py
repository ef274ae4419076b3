"""Tokens: the text that a client sends, what is kept of it, and what it may do.

A token has 190 bits of chance, so a plain SHA-256 is enough to keep: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from assay.domain.errors import InvalidInput

PREFIX: Final = "assay_"
LETTERS: Final = 32
SHOWN: Final = len(PREFIX) + 4
"""So much of a token may be shown, for people to know it again."""

_ALPHABET: Final = string.ascii_letters + string.digits
_SHAPE: Final = re.compile(rf"{PREFIX}[A-Za-z0-9]{{{LETTERS}}}")


class Scope(StrEnum):
    """What a token may be used for."""

    RUN = "run"
    """Runners of its own, and executions in them."""
    SUBMIT = "submit"
    """Hand in for learners, and see of it what learners may."""
    TEACH = "teach"
    """Everybody's submissions, and what is hidden from learners: of all courses, or of some."""
    READ = "read"
    """Statistics, metrics, environments."""
    ENVIRONMENTS = "environments"
    """Change and delete environments."""
    TOKENS = "tokens"
    """Make, list and revoke tokens."""
    ADMIN = "admin"
    """Everybody's runners, and events."""


def make_token() -> str:
    """A new token. It is shown to its user once, and never kept."""
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(LETTERS))


def is_token(text: str) -> bool:
    """Whether a text has the shape of a token, so that the database need not be asked in vain."""
    return _SHAPE.fullmatch(text) is not None


def hash_of(token: str) -> bytes:
    """The 32 bytes by which a token is found again; of any text that a client may send."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


def is_same(sent: str, expected: str) -> bool:
    """Whether two secret texts are equal, in a time that doesn't tell where they differ."""
    return hmac.compare_digest(hash_of(sent), hash_of(expected))


def scopes_of(names: Iterable[str]) -> frozenset[Scope]:
    """The scopes of these names. Raises InvalidInput for an unknown one, or for none."""
    try:
        scopes = frozenset(Scope(name) for name in names)
    except ValueError as error:
        known = ", ".join(Scope)
        raise InvalidInput(f"there are the scopes {known}: {error}") from error
    if not scopes:
        raise InvalidInput(f"a token needs one scope at least: {', '.join(Scope)}")
    return scopes
