"""What all servers of a database know, and nobody else: one key, from which others are derived."""

from __future__ import annotations

import hmac
import secrets

from sqlalchemy import insert, select

from assay.driver.port import Secret
from assay.storage.kind import Cursor, Kind
from assay.storage.statements import Statement
from assay.storage.tables import INSTALLATION


class InstallationKey:
    """Made by whoever asks first."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._add = Statement(insert(INSTALLATION), kind.engine.dialect)
        self._keys = Statement(select(INSTALLATION.c.key), kind.engine.dialect)

    def find(self, cursor: Cursor) -> Secret:
        """The key; two that ask at the same time get the same one."""
        self._kind.lock_schema(cursor)
        found = self._keys.rows(cursor)
        key = bytes(found[0]["key"]) if found else secrets.token_bytes(32)
        if not found:
            self._add.run(cursor, {"key": key})
        return Secret(key)


def derived(key: Secret, purpose: str) -> Secret:
    """A key for one purpose, that tells nothing of the others."""
    return Secret(hmac.digest(key.reveal(), f"key\0{purpose}".encode(), "sha256"))
