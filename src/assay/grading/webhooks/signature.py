"""Signatures of messages, as Standard Webhooks has them: HMAC-SHA256, version 1."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


def new_secret() -> bytes:
    """A secret nobody can guess."""
    return secrets.token_bytes(SECRET_BYTES)


def shown(secret: bytes) -> str:
    """A secret as receivers' libraries take it."""
    return PREFIX + base64.b64encode(secret).decode()


def secret_of(text: str) -> bytes:
    """The secret that is shown so. Raises ValueError."""
    if not text.startswith(PREFIX):
        raise ValueError(f"a secret begins with {PREFIX}")
    try:
        return base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"a secret is base64 after {PREFIX}") from error


def sign(secret: bytes, message: str, timestamp: int, body: bytes) -> str:
    """The signature of one attempt: `timestamp` is in seconds since 1970."""
    signed = f"{message}.{timestamp}.".encode() + body
    made = hmac.new(secret, signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(made).decode()


def fields(keys: Sequence[bytes], message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The header fields of one attempt, signed by each of the secrets."""
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(sign(key, message, timestamp, body) for key in keys),
    }
