"""Where submissions are: with SQLite in a file of their own, with PostgreSQL where all is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from assay.storage.kind import Kind
from assay.storage.postgresql import Postgresql
from assay.storage.sqlite import Sqlite
from assay.storage.urls import parsed

_QUEUE_LOCK: Final = 0x6173736179_03


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Two ways to the same tables."""

    writing: Kind
    """One transaction at a time, of all servers and workers."""
    reading: Kind
    """Beside them: no question holds up what is handed in."""
    notices: URL | None
    """Where PostgreSQL tells of what others do; None: nobody does."""


def place_of(url: str) -> Place:
    """Where the submissions are of a server whose database this is. Raises StorageError."""
    found = parsed(url)
    if found.drivername == "sqlite":
        path = beside(Path(str(found.database)))
        return Place(
            writing=Sqlite(path, durable=True), reading=Sqlite(path, reader=True), notices=None
        )
    return Place(
        writing=Postgresql(found, lock=_QUEUE_LOCK),
        reading=Postgresql(found, reader=True),
        notices=found,
    )


def beside(path: Path) -> Path:
    """The file for submissions beside a server's: `server.db` has `server-submissions.db`."""
    return path.with_name(f"{path.stem}-submissions{path.suffix}")
