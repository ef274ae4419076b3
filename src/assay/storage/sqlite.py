"""A database in a file: SQLite, with a write-ahead log.

What is committed survives the end of the process, whatever ends it (`synchronous=NORMAL`); when the
machine loses its power, the last moments may be missing, and the file is whole.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import Final

from sqlalchemy import NullPool, create_engine, event

from assay.domain.errors import StorageError
from assay.storage.kind import Cursor, Session

BUSY_SECONDS: Final = 5.0
"""How long to wait for another program that writes, such as `assay token`."""

_PRAGMAS: Final = (
    "PRAGMA synchronous=NORMAL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA trusted_schema=OFF",
)


class Sqlite:
    """One file, which only its owner can read: it holds secrets."""

    # At once for writing: a transaction that began as a reader could not wait for others.
    begin = "BEGIN IMMEDIATE"
    has_servers = False
    errors: type[Exception] = sqlite3.Error

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self.place = str(self._path)
        self.engine = create_engine("sqlite://", creator=self.connect, poolclass=NullPool)
        event.listen(self.engine, "begin", lambda made: made.exec_driver_sql(self.begin))
        self._identity: tuple[int, int] | None = None
        self._lock: int | None = None

    def prepare(self) -> None:
        """Make the folder and the file. Raises StorageError unless both are ours alone."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _require_ours(self._path.parent)
            made = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._cannot("be opened", error) from error
        try:
            os.fchmod(made, 0o600)
            self._identity = _identity(os.fstat(made))
        except OSError as error:
            raise self._cannot("be kept from others' eyes", error) from error
        finally:
            # Before SQLite has it open: closing any descriptor of a file ends its process' locks.
            os.close(made)

    def connect(self) -> sqlite3.Connection:
        """Open the file. Raises StorageError where it cannot be shared with other programs."""
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                raise StorageError(
                    f"the database {self.place} is on a file system without shared memory, such as "
                    "a network's: put it on a disk of this machine, or use PostgreSQL"
                )
            for pragma in _PRAGMAS:
                connection.execute(pragma)
        except BaseException:
            connection.close()
            raise
        return connection

    def require_intact(self) -> None:
        """Raise StorageError if the file was removed or replaced: what we write would be lost."""
        try:
            found = _identity(os.stat(self.place))  # noqa: PTH116  # before each transaction
        except OSError as error:
            raise self._cannot("be found any more", error) from error
        if found != self._identity:
            raise StorageError(
                f"the database {self.place} was replaced by another file: start the server anew"
            )

    def is_lost(self, session: Session | None, error: Exception) -> bool:
        """Never: a file doesn't come back by itself."""
        return False

    def lock_schema(self, cursor: Cursor) -> None:
        """Nothing: a transaction here keeps all others from writing."""

    def mark(self, cursor: Cursor) -> str | None:
        """None is needed: the connection to a file isn't lost."""
        return None

    def mark_of(self, cursor: Cursor, server: str) -> str | None:
        """Never asked."""
        return None

    def was_committed(self, cursor: Cursor, mark: str) -> bool:
        """Never asked."""
        return False

    def clock(self, cursor: Cursor) -> float:
        """This machine's clock."""
        return time.time()

    def hold(self, cursor: Cursor, *, alone: bool) -> None:
        """Lock a file beside the database, for as long as the process lives."""
        if not alone:
            raise StorageError(
                f"the database {self.place} is for one server: several need PostgreSQL"
                " (--database postgresql://…), and one needs no --advertise"
            )
        if self._lock is not None:
            return
        path = f"{self._path}-server"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._cannot("be locked", error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise StorageError(f"another server uses the database {self.place}: stop it") from error
        self._lock = lock

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _cannot(self, what: str, error: OSError) -> StorageError:
        if error.errno == errno.ELOOP:
            return StorageError(f"the database {self.place} is a link: name the file itself")
        return StorageError(
            f"the database {self.place} cannot {what}: {error.strerror}", detail=str(error)
        )


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _require_ours(folder: Path) -> None:
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise StorageError(
            f"the database's folder {folder} belongs to another user (id {found.st_uid}): "
            "name a folder of who runs Assay"
        )
    if stat.S_IMODE(found.st_mode) & 0o022:
        raise StorageError(
            f"others can write into the database's folder {folder}: chmod go-w {folder}, "
            "or name another folder"
        )
