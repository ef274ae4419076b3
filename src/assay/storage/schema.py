"""The tables of a database, brought to what this Assay needs."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect

from assay.domain.errors import StorageError
from assay.storage.kind import Kind
from assay.storage.tables import METADATA

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "0011"
"""The newest migration. Where a database has it, Alembic need not even be loaded."""

MIGRATIONS: Final = Path(__file__).parent / "migrations"

_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where Alembic keeps which migration was the last one."""

_ONE_AT_A_TIME: Final = threading.Lock()
"""Alembic keeps the connection that it works on in a global."""


def configuration(connection: Connection) -> Config:
    """Alembic's configuration for one connection."""
    from alembic.config import Config

    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def migrate(connection: Connection, kind: Kind) -> None:
    """Make the tables, or run the migrations that are missing.

    Raises StorageError for a database of a newer Assay.
    """
    with contextlib.closing(connection.connection.cursor()) as cursor:
        kind.lock_schema(cursor)
    found = revision_of(connection)
    if found == HEAD:
        return
    if found is None:
        _make(connection)
        return
    with _ONE_AT_A_TIME:
        from alembic import command
        from alembic.script import ScriptDirectory

        wanted = configuration(connection)
        known = {each.revision for each in ScriptDirectory.from_config(wanted).walk_revisions()}
        if found not in known:
            raise StorageError(
                f"the database {kind.place} belongs to a newer Assay (its tables have the version "
                f"{found}, this one knows {HEAD}): install that one, or use another database"
            )
        command.upgrade(wanted, "head")


def revision_of(connection: Connection) -> str | None:
    """The newest migration that a database has had."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(_VERSION.select()).scalar()


def _make(connection: Connection) -> None:
    """All tables as they are now: what the migrations come to, without loading Alembic."""
    METADATA.create_all(connection, checkfirst=False)
    _VERSION.create(connection, checkfirst=True)
    connection.execute(_VERSION.insert().values(version_num=HEAD))
