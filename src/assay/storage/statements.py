"""Every statement that writes, compiled once: see docs/decisions/0030 for what that saves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    BindParameter,
    Select,
    Table,
    bindparam,
    delete,
    insert,
    null,
    select,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.dml import UpdateBase

from assay.storage.kind import Cursor, Kind
from assay.storage.tables import (
    COUNTER,
    ENVIRONMENT,
    EXECUTION,
    LEASE,
    SANDBOX,
    SERVER,
    TOKEN,
)

Values = Mapping[str, object]

_NOTHING: Final[Values] = {}
KEY: Final[BindParameter[Any]] = bindparam("key")
"""The value by which a statement finds its row."""


class Statement:
    """One statement as text for one kind of database."""

    def __init__(self, statement: UpdateBase | Select[Any], dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text: str = compiled.string
        columns = statement.selected_columns if isinstance(statement, Select) else ()
        self._columns = tuple(each.name for each in columns)
        self._order: Sequence[str] | None = compiled.positiontup
        self._fixed = {name: value for name, value in compiled.params.items() if value is not None}

    def run(self, cursor: Cursor, values: Values) -> int:
        """Run it once; how many rows it changed."""
        cursor.execute(self._text, self._arrange(values))
        return cursor.rowcount

    def run_all(self, cursor: Cursor, all_values: Sequence[Values]) -> None:
        """Run it once for each of the values."""
        if all_values:
            cursor.executemany(self._text, [self._arrange(each) for each in all_values])

    def rows(self, cursor: Cursor, values: Values = _NOTHING) -> list[dict[str, Any]]:
        """Run it; its answer's rows by the names of their columns."""
        cursor.execute(self._text, self._arrange(values))
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def rows_of_each(
        self, kind: Kind, cursor: Cursor, all_values: Sequence[Values]
    ) -> list[list[dict[str, Any]]]:
        """The rows of its answer for each of the values, asked in one go."""
        if not all_values:
            return []
        arranged = [self._arrange(each) for each in all_values]
        found = kind.ask_each(cursor, self._text, arranged)
        names = self._columns
        return [[dict(zip(names, row, strict=True)) for row in rows] for rows in found]

    def run_each(self, kind: Kind, cursor: Cursor, all_values: Sequence[Values]) -> list[int]:
        """How many rows it changes for each of the values, said in one go."""
        if not all_values:
            return []
        return kind.change_each(cursor, self._text, [self._arrange(each) for each in all_values])

    def _arrange(self, values: Values) -> Any:
        given = {**self._fixed, **values} if self._fixed else values
        return given if self._order is None else tuple(given[name] for name in self._order)


class Statements:
    """All of them; `key` is the value by which one finds its row."""

    def __init__(self, dialect: Dialect) -> None:
        def compiled(statement: UpdateBase) -> Statement:
            return Statement(statement, dialect)

        def added(table: Table) -> Statement:
            return compiled(insert(table))

        self.add_sandbox = added(SANDBOX)
        self.take_sandbox = compiled(
            update(SANDBOX).where(SANDBOX.c.id == KEY, ~SANDBOX.c.taken).values(taken=True)
        )
        self.condemn_sandbox = compiled(
            update(SANDBOX).where(SANDBOX.c.id == KEY).values(taken=True)
        )
        self.remove_sandbox = compiled(delete(SANDBOX).where(SANDBOX.c.id == KEY))
        self.add_lease = added(LEASE)
        self.touch_lease = compiled(
            update(LEASE).where(LEASE.c.runner_id == KEY).values(active_at=bindparam("active_at"))
        )
        self.replace_lease = compiled(
            update(LEASE)
            .where(LEASE.c.runner_id == KEY)
            .values(
                {
                    each.name: bindparam(each.name)
                    for each in LEASE.c
                    if each is not LEASE.c.runner_id
                }
            )
        )
        leased = select(LEASE.c.sandbox_id).where(LEASE.c.runner_id == KEY).scalar_subquery()
        self.end_lease = compiled(delete(SANDBOX).where(SANDBOX.c.id == leased))
        self.add_execution = added(EXECUTION)
        self.mark_started = compiled(
            update(EXECUTION).where(EXECUTION.c.id == KEY).values(started=True)
        )
        self.remove_execution = compiled(delete(EXECUTION).where(EXECUTION.c.id == KEY))
        self.remove_executions = compiled(delete(EXECUTION).where(EXECUTION.c.runner_id == KEY))
        self.add_environment = added(ENVIRONMENT)
        self.remove_environment = compiled(delete(ENVIRONMENT).where(ENVIRONMENT.c.name == KEY))
        self.add_token = added(TOKEN)
        self.revoke_token = compiled(
            update(TOKEN)
            .where(TOKEN.c.id == KEY, TOKEN.c.revoked_at.is_(None))
            .values(revoked_at=bindparam("revoked_at"))
        )
        self._of_servers(compiled, dialect)
        self.add_counter = added(COUNTER)
        self.count = compiled(
            update(COUNTER).where(COUNTER.c.name == KEY).values(value=COUNTER.c.value + 1)
        )
        self.counted = Statement(select(COUNTER.c.value).where(COUNTER.c.name == KEY), dialect)

    def _of_servers(self, compiled: Callable[[UpdateBase], Statement], dialect: Dialect) -> None:
        # Whatever was sent twice, or too late, finds another heartbeat there, or no row.
        self.add_server = compiled(insert(SERVER))
        self.beat = compiled(
            update(SERVER)
            .where(SERVER.c.id == KEY)
            .values({name: bindparam(name) for name in ("heartbeat_at", "draining", "held")})
        )
        self.let_go = compiled(
            update(SERVER).where(SERVER.c.id == KEY).values(heartbeat_at=0.0, draining=True)
        )
        self.end_server = compiled(
            delete(SERVER).where(SERVER.c.id == KEY, SERVER.c.heartbeat_at == bindparam("seen"))
        )
        self.end_servers = compiled(delete(SERVER))
        owner: dict[str, BindParameter[Any]] = {
            "server": bindparam("new_server"),
            "epoch": bindparam("new_epoch"),
        }
        self.hand_over = compiled(update(SANDBOX).where(SANDBOX.c.server == KEY).values(owner))
        self.adopt = compiled(update(SANDBOX).where(SANDBOX.c.server.is_(None)).values(owner))
        self.disown = compiled(
            update(SANDBOX).where(SANDBOX.c.server.is_not(None)).values(server=null(), epoch=null())
        )
        self.servers = Statement(select(SERVER).order_by(SERVER.c.id), dialect)
        self.locate = Statement(
            select(SERVER)
            .select_from(LEASE)
            .join(SANDBOX, SANDBOX.c.id == LEASE.c.sandbox_id)
            .join(SERVER, SERVER.c.id == SANDBOX.c.server)
            .where(LEASE.c.runner_id == KEY),
            dialect,
        )
