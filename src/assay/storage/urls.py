"""Which database a URL names."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from assay.domain.errors import StorageError
from assay.storage.kind import Kind
from assay.storage.postgresql import Postgresql
from assay.storage.sqlite import Sqlite

_FORMS: Final = "a database is sqlite:////folder/file or postgresql://user@host/name"


def kind_of(url: str) -> Kind:
    """The database that a URL names. Raises StorageError when it names none."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # its text may hold a password
        raise StorageError(_FORMS) from error
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return Postgresql(parsed)
    if parsed.drivername == "sqlite" and parsed.database and parsed.database != ":memory:":
        return Sqlite(Path(parsed.database))
    raise StorageError(f"{_FORMS}, not {parsed.render_as_string(hide_password=True)!r}")
