"""A database in a file: SQLite, with a write-ahead log.

What is committed survives the end of the process, whatever ends it (`synchronous=NORMAL`); when the
machine loses its power, the last moments may be missing, and the file is whole. With FULL they
are there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import NullPool, create_engine, event

from assay.domain.errors import StorageError
from assay.storage.kind import Cursor, Session

BUSY_SECONDS: Final = 5.0
"""How long to wait for another program that writes, such as `assay token`."""

_PRAGMAS: Final = (
    "PRAGMA foreign_keys=ON",
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA trusted_schema=OFF",
)


_OURS_ALONE: Final = 0o600
_PREPARING: Final = threading.Lock()


class Sqlite:
    """One file, which only its owner can read: it holds secrets."""

    # At once for writing: a transaction that began as a reader could not wait for others.
    begin = "BEGIN IMMEDIATE"
    has_servers = False
    errors: type[Exception] = sqlite3.Error

    def __init__(self, path: Path, *, durable: bool = False, reader: bool = False) -> None:
        """`durable`: what is committed survives the machine. `reader`: nothing is ever written."""
        if reader:
            self.begin = "BEGIN"
        self._pragmas = (
            *_PRAGMAS,
            f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}",
            f"PRAGMA query_only={'ON' if reader else 'OFF'}",
        )
        self._path = path.absolute()
        self.place = str(self._path)
        self.engine = create_engine("sqlite://", creator=self.connect, poolclass=NullPool)
        event.listen(self.engine, "begin", lambda made: made.exec_driver_sql(self.begin))
        self._identity: tuple[int, int] | None = None
        self._lock: int | None = None

    def prepare(self) -> None:
        """Make the folder and the file. Raises StorageError unless both are ours alone."""
        with _PREPARING:
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _require_ours(self._path.parent)
                _make(self._path)
                found = self._path.lstat()
                _require_usable(self._path, found)
            except OSError as error:
                raise self._cannot("be opened", error) from error
            try:
                if stat.S_IMODE(found.st_mode) != _OURS_ALONE:
                    self._path.chmod(_OURS_ALONE)
            except OSError as error:
                raise self._cannot("be kept from others' eyes", error) from error
            self._identity = _identity(found)

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
            for pragma in self._pragmas:
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

    def ask_each(
        self, cursor: Cursor, statement: str, parameters: Sequence[Any]
    ) -> list[list[Any]]:
        """One after the other: nothing lies between us and the file."""
        found = []
        for each in parameters:
            cursor.execute(statement, each)
            found.append(list(cursor.fetchall()))
        return found

    def change_each(self, cursor: Cursor, statement: str, parameters: Sequence[Any]) -> list[int]:
        """One after the other, likewise."""
        changed = []
        for each in parameters:
            cursor.execute(statement, each)
            changed.append(cursor.rowcount)
        return changed

    def durability(self, cursor: Cursor) -> dict[str, str]:
        """Whether each commit waits for the disk."""
        cursor.execute("PRAGMA synchronous")
        return {"synchronous": "on" if cursor.fetchall()[0][0] >= 2 else "off"}

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


def _make(path: Path) -> None:
    """Make the file if it isn't there; one that is there is never opened here.

    Closing any descriptor of a file ends all locks that its process has on it. A connection of this
    process would lose its own, and another process could take away the log under its hands.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(path, flags, _OURS_ALONE))
    except FileExistsError:
        return


def _require_usable(path: Path, found: os.stat_result) -> None:
    """Raise what opening it for writing would have."""
    wrong = 0
    if stat.S_ISLNK(found.st_mode):
        wrong = errno.ELOOP
    elif os.statvfs(path).f_flag & os.ST_RDONLY:
        wrong = errno.EROFS
    elif not os.access(path, os.R_OK | os.W_OK):
        wrong = errno.EACCES
    if wrong:
        raise OSError(wrong, os.strerror(wrong), str(path))


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
