"""Which database a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from assay.domain.errors import StorageError
from assay.storage.kind import Kind
from assay.storage.postgresql import Postgresql
from assay.storage.sqlite import Sqlite


def kind_of(url: str) -> Kind:
    """The database that a URL names. Raises StorageError when it names none."""
    found = parsed(url)
    return Sqlite(Path(str(found.database))) if found.drivername == "sqlite" else Postgresql(found)


def parsed(url: str) -> URL:
    """The URL of a database that we can use. Raises StorageError for any other."""
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:  # its text may hold a password
        raise StorageError(_FORMS) from error
    if found.drivername in ("postgresql", "postgresql+psycopg"):
        return found
    # With three slashes a path begins in the current folder, where nobody looks for a database.
    if found.drivername == "sqlite" and (found.database or "").startswith("/"):
        return found
    raise StorageError(f"{_FORMS}, not {found.render_as_string(hide_password=True)!r}")


_FORMS: Final = "a database is sqlite:////folder/file or postgresql://user@host/name"
