"""What databases say when they fail, as what an operator can do about it."""

from __future__ import annotations

import sqlite3
from typing import Final

from assay.domain.errors import StorageError

_SQLITE: Final[dict[int, str]] = {
    sqlite3.SQLITE_BUSY: "is locked by another program for too long: see which one has it open",
    sqlite3.SQLITE_LOCKED: "is locked by another program for too long: see which one has it open",
    sqlite3.SQLITE_READONLY: "cannot be written: its folder and files must belong to, and be "
    "writable for, who runs Assay",
    sqlite3.SQLITE_IOERR: "cannot be read or written: its disk fails, see the kernel's log (dmesg)",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup (docs/storage.md)",
    sqlite3.SQLITE_FULL: "cannot grow, its disk is full: make room, and it goes on by itself",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: its folder and files must belong to, and be "
    "writable for, who runs Assay",
    sqlite3.SQLITE_NOTADB: "is no database, or damaged: name another file, or restore a backup "
    "(docs/storage.md)",
}
"""By the low byte of SQLite's result codes."""

_POSTGRESQL: Final[dict[str, str]] = {
    "08": "cannot be reached: see that PostgreSQL runs there, and that its address is right",
    "22": "refuses a value",
    "23": "refuses a row: it is there already, or what it belongs to is gone",
    "25": "can only be read: it is a standby, or set to be read-only",
    "28": "lets nobody in with this user and password",
    "3D": "is not there: createdb makes it",
    "3F": "does not allow what Assay needs: its user must own the database",
    "42": "does not allow what Assay needs: its user must own the database",
    "53": "is out of disk, memory or connections: make room, and it goes on by itself",
    "55": "is locked by another program for too long",
    "57": "is being stopped",
    "58": "fails: see its own log",
    "XX": "is damaged: see its own log, and restore it from a backup (docs/storage.md)",
}
"""By the first two letters of PostgreSQL's codes, which are the code's class."""

_FIRST_WORDS: Final = {
    "password authentication failed": "28",
    "no password supplied": "28",
    "no pg_hba.conf entry": "28",
    "does not exist": "3D",
    "too many clients": "53",
}
"""Who isn't let in gets words, and no code."""


def is_about_one_statement(error: Exception) -> bool:
    """Whether other statements may work all the same: the fault is in what this one says."""
    if isinstance(error, StorageError):
        return False
    if isinstance(error, sqlite3.DatabaseError):
        return isinstance(error, sqlite3.IntegrityError | sqlite3.DataError)
    state = _state_of(error)
    return state is None or state[:2] in ("22", "23")


def storage_error(error: Exception, place: str) -> StorageError:
    """An error of a database as one of ours. `place` is what the operator calls the database."""
    if isinstance(error, StorageError):
        return StorageError(error.message, detail=error.detail)
    cause = getattr(error, "orig", None) or error  # SQLAlchemy wraps what it passes on
    return StorageError(f"the database {place} {_explanation(cause)}", detail=str(cause).strip())


def _explanation(cause: Exception) -> str:
    if isinstance(cause, sqlite3.IntegrityError):
        return _POSTGRESQL["23"]
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0)
        return _SQLITE.get(code & 0xFF, f"failed: {_first_line(cause)}")
    state = _state_of(cause)
    if state is None:
        return _POSTGRESQL["22"]
    return _POSTGRESQL.get(state[:2], f"failed: {_first_line(cause)}")


def _first_line(cause: Exception) -> str:
    return str(cause).strip().partition("\n")[0]


def _state_of(error: Exception) -> str | None:
    """PostgreSQL's code of an error of its; None for another's, which only a value can cause."""
    if not hasattr(error, "sqlstate"):
        return None
    if error.sqlstate is not None:
        return str(error.sqlstate)
    if type(error).__name__ == "DataError":  # found by psycopg itself
        return "22000"
    said = str(error)
    return next((code for words, code in _FIRST_WORDS.items() if words in said), "08")
