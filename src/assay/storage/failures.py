"""What databases say when they fail, as what an operator can do about it."""

from __future__ import annotations

from typing import Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from assay.domain.errors import StorageError

_SQLITE: Final[dict[int, str]] = {
    5: "is locked by another program for too long; see which one has it open: fuser {place}",
    6: "is locked by another program for too long; see which one has it open: fuser {place}",
    8: "cannot be written: make its folder and files writable for who runs Assay",
    10: "cannot be read or written: its disk fails, see the kernel's log (dmesg)",
    11: "is damaged: restore it from a backup (docs/storage.md)",
    13: "cannot grow: its disk is full; make room, and it goes on by itself",
    14: "cannot be opened: make its folder and files readable and writable for who runs Assay",
    26: "is no database: name another file, or remove this one",
}
"""By the low byte of SQLite's result codes."""

_POSTGRESQL: Final[dict[str, str]] = {
    "08": "cannot be reached: see that PostgreSQL runs there, and that its address is right",
    "22": "refuses a value",
    "23": "refuses a row: it is there already, or what it belongs to is gone",
    "25": "can only be read: it is a standby, or set to be read-only",
    "28": "lets nobody in with this user and password",
    "3D": "is not there: createdb makes it",
    "42": "does not allow what Assay needs: its user must own the database",
    "53": "is out of disk, memory or connections: make room, and it goes on by itself",
    "55": "is locked by another program for too long",
    "57": "is being stopped",
    "58": "fails: see its own log",
    "XX": "is damaged: see its own log, and restore it from a backup (docs/storage.md)",
}
"""By the first two letters of PostgreSQL's codes, which are the code's class."""


def is_about_one_statement(error: Exception) -> bool:
    """Whether other statements may work all the same: the fault is in what one of them says."""
    return isinstance(error, DataError | IntegrityError) or not isinstance(error, DBAPIError)


def is_lost(error: Exception) -> bool:
    """Whether the database went away, or wants to be asked again: nothing was committed."""
    if not isinstance(error, DBAPIError):
        return False
    state = _state_of(error)
    return error.connection_invalidated or state[:2] in ("08", "57") or state in _AGAIN


_AGAIN: Final = ("40001", "40P01")
"""A conflict with another transaction, and a deadlock: PostgreSQL's advice is to repeat."""


def storage_error(error: Exception, place: str) -> StorageError:
    """An error of a database as one of ours. `place` is what the operator calls the database."""
    if isinstance(error, StorageError):
        return StorageError(error.message, detail=error.detail)
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    explained = _explanation(error, cause).format(place=place)
    return StorageError(f"the database {place} {explained}", detail=str(cause).strip())


def _explanation(error: Exception, cause: BaseException) -> str:
    if isinstance(error, IntegrityError):
        return _POSTGRESQL["23"]
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        return _SQLITE.get(code & 0xFF, "failed: " + _plain(cause))
    if isinstance(error, DBAPIError):
        found = _POSTGRESQL.get(_state_of(error)[:2])
        return found or (_POSTGRESQL["08"] if is_lost(error) else "failed: " + _plain(cause))
    return _POSTGRESQL["22"]


def _state_of(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _plain(cause: BaseException) -> str:
    first, *_ = str(cause).splitlines() or [type(cause).__name__]
    return first.replace("{", "{{").replace("}", "}}")
