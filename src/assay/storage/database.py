"""The storage: every question and every write of a server.

A write is an `asyncio.Future` that is done when the write is committed; whoever needn't know
doesn't await it. Writes happen in the order in which they were asked for, and a question sees all
that was asked for before it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Table, make_url, select
from sqlalchemy.exc import ArgumentError

from assay.domain.errors import SandboxGone, StorageError
from assay.domain.lease import Lease
from assay.storage import rows
from assay.storage.connection import Database, Step
from assay.storage.events import Event
from assay.storage.kind import Cursor, Kind
from assay.storage.postgresql import Postgresql
from assay.storage.records import EnvironmentRecord, ExecutionRecord, SandboxRecord, TokenRecord
from assay.storage.sqlite import Sqlite
from assay.storage.statements import Statement, Statements, Values
from assay.storage.tables import COUNTER, ENVIRONMENT, EXECUTION, LEASE, SANDBOX, TOKEN
from assay.storage.writer import PATIENCE_SECONDS, Operation, Writer

_EPOCH: Final = "epoch"

T = TypeVar("T")


class Storage:
    """A server's database. Make one by `await Storage.open(url)`."""

    def __init__(self, kind: Kind, *, on_event: Callable[[Event], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._database = Database(kind)
        self._dialect = kind.engine.dialect
        self._sql = Statements(self._dialect)
        self._writer = Writer(self._database, self._loop, on_event)
        self._closed = False

    @classmethod
    async def open(cls, url: str, *, on_event: Callable[[Event], None] | None = None) -> Storage:
        """Open `sqlite:////folder/file` or `postgresql://…`, and make what is missing there.

        Raises StorageError with the remedy.
        """
        storage = cls(kind_of(url), on_event=on_event)
        await storage._writer.start()
        return storage

    async def aclose(self) -> None:
        """Commit what waits, and close the database."""
        if not self._closed:
            self._closed = True
            await self._writer.stop()

    # --- time ---

    async def now(self) -> float:
        """The database's clock, in seconds since 1970."""
        return self.clock()

    def clock(self) -> float:
        """The same, from a sample that is a few seconds old at most; it costs nothing."""
        return time.monotonic() + self._database.offset

    async def next_epoch(self) -> int:
        """Be this database's server, and count how many there were: 1, 2, 3…

        Raises StorageError while another server uses this database.
        """

        def count(cursor: Cursor) -> int:
            self._database.become_server(cursor)
            if not self._sql.count.run(cursor, {"key": _EPOCH}):
                self._sql.add_counter.run(cursor, {"name": _EPOCH, "value": 1})
            (counter,) = Statement(asked, self._dialect).rows(cursor)
            return int(counter["value"])

        asked = select(COUNTER).where(COUNTER.c.name == _EPOCH)
        return await self._submit("next_epoch", count)

    # --- sandboxes ---

    def add_sandbox(self, record: SandboxRecord) -> asyncio.Future[bool]:
        """Know a sandbox before anybody can have it."""
        return self._write("add_sandbox", self._sql.add_sandbox, rows.sandbox_values(record))

    def take_sandbox(self, sandbox_id: str) -> asyncio.Future[bool]:
        """Hand it to somebody, once and for all. SandboxGone: there is none, or it is taken."""
        statement = self._sql.take_sandbox

        def take(cursor: Cursor) -> bool:
            if not statement.run(cursor, {"key": sandbox_id}):
                raise SandboxGone(f"the sandbox {sandbox_id} is gone, or somebody's already")
            return True

        return self._submit("take_sandbox", take)

    def remove_sandbox(self, sandbox_id: str) -> asyncio.Future[bool]:
        """Forget it, with its lease and executions; whether it was there."""
        values = {"key": sandbox_id}
        return self._write("remove_sandbox", self._sql.remove_sandbox, values, later=True)

    async def sandboxes(self, driver: str | None = None) -> list[SandboxRecord]:
        """All sandboxes, or one driver's; the oldest first."""
        found = await self._rows(SANDBOX, "created_at", driver=driver)
        return [rows.sandbox_of(each) for each in found]

    # --- leases ---

    def add_lease(self, lease: Lease) -> asyncio.Future[bool]:
        """Keep a lease of a sandbox that was added."""
        return self._write("add_lease", self._sql.add_lease, rows.lease_values(lease))

    def replace_lease(self, lease: Lease) -> asyncio.Future[bool]:
        """Put this one in the place of the runner's former; its executions are over.

        The former sandbox stays known until it is removed: only after this, or the lease goes
        with it.
        """
        values = rows.lease_values(lease)

        def replace(cursor: Cursor) -> bool:
            self._sql.remove_executions.run(cursor, {"key": lease.runner_id})
            return self._sql.replace_lease.run(cursor, values) > 0

        return self._submit("replace_lease", replace)

    def touch_leases(self, active_at: Mapping[str, float]) -> asyncio.Future[bool]:
        """Note when runners were active last; those that are gone are left out."""
        every = [{"key": runner, "active_at": at} for runner, at in active_at.items()]

        def touch(cursor: Cursor) -> bool:
            self._sql.touch_lease.run_all(cursor, every)
            return True

        return self._submit("touch_leases", touch, later=True)

    def end_lease(self, runner_id: str) -> asyncio.Future[bool]:
        """Forget a lease with its executions and its sandbox; whether it was there."""
        return self._write("end_lease", self._sql.end_lease, {"key": runner_id})

    async def leases(self) -> list[Lease]:
        """All leases, the oldest first."""
        return [rows.lease_of(each) for each in await self._rows(LEASE, "created_at")]

    # --- executions ---

    def add_execution(self, record: ExecutionRecord) -> asyncio.Future[bool]:
        """Keep an execution of a runner whose lease was added."""
        return self._write("add_execution", self._sql.add_execution, rows.execution_values(record))

    def mark_started(self, execution_id: str) -> asyncio.Future[bool]:
        """Know that it was started; whether it was there."""
        return self._write("mark_started", self._sql.mark_started, {"key": execution_id})

    def remove_execution(self, execution_id: str) -> asyncio.Future[bool]:
        """Forget it; whether it was there."""
        values = {"key": execution_id}
        return self._write("remove_execution", self._sql.remove_execution, values, later=True)

    async def executions(self, runner_id: str | None = None) -> list[ExecutionRecord]:
        """All executions, or one runner's; the oldest first."""
        found = await self._rows(EXECUTION, "created_at", runner_id=runner_id)
        return [rows.execution_of(each) for each in found]

    # --- environments ---

    def put_environment(self, record: EnvironmentRecord) -> asyncio.Future[bool]:
        """Keep an environment, in the place of one of this name; whether it is new."""
        values = rows.environment_values(record)

        def put(cursor: Cursor) -> bool:
            found = self._sql.remove_environment.run(cursor, {"key": record.name})
            self._sql.add_environment.run(cursor, values)
            return not found

        return self._submit("put_environment", put)

    def remove_environment(self, name: str) -> asyncio.Future[bool]:
        """Forget it; whether it was there."""
        return self._write("remove_environment", self._sql.remove_environment, {"key": name})

    async def environments(self) -> list[EnvironmentRecord]:
        """All environments, by name."""
        return [rows.environment_of(each) for each in await self._rows(ENVIRONMENT, "name")]

    # --- tokens ---

    def add_token(self, record: TokenRecord) -> asyncio.Future[bool]:
        """Keep a new token."""
        return self._write("add_token", self._sql.add_token, rows.token_values(record))

    def revoke_token(self, token_id: str) -> asyncio.Future[bool]:
        """Let it open nothing any more; whether it was there, and not revoked."""
        values = {"key": token_id, "revoked_at": self.clock()}
        return self._write("revoke_token", self._sql.revoke_token, values)

    async def tokens(self) -> list[TokenRecord]:
        """All tokens, revoked ones as well, the oldest first."""
        return [rows.token_of(each) for each in await self._rows(TOKEN, "created_at")]

    async def token_by_hash(self, digest: bytes) -> TokenRecord | None:
        """The token with this hash, good or not; None: there is none."""
        found = await self._rows(TOKEN, "created_at", hash=digest)
        return rows.token_of(found[0]) if found else None

    # --- how ---

    def _write(
        self, name: str, statement: Statement, values: Values, *, later: bool = False
    ) -> asyncio.Future[bool]:
        def write(cursor: Cursor) -> bool:
            return statement.run(cursor, values) > 0

        return self._submit(name, write, later=later)

    async def _rows(self, table: Table, order: str, **equal: object) -> Sequence[rows.AnyRow]:
        """The rows in which each column that is named has its value; None is any value."""
        asked = select(table).order_by(table.c[order], *table.primary_key)
        for name, value in equal.items():
            if value is not None:
                asked = asked.where(table.c[name] == value)
        return await self._submit(f"read {table.name}", Statement(asked, self._dialect).rows)

    def _submit(
        self, name: str, step: Callable[[Cursor], T], *, later: bool = False
    ) -> asyncio.Future[T]:
        """`later`: nobody waits for it, so that a kill may come a moment before its commit."""
        future: asyncio.Future[Any] = self._loop.create_future()
        operation = Operation(name, cast(Step, step), future, time.monotonic() + PATIENCE_SECONDS)
        if self._closed:
            future.set_exception(StorageError("the storage was closed"))
            future.exception()
        else:
            self._writer.submit(operation, later=later)
        return future


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


_FORMS: Final = "a database is sqlite:////folder/file or postgresql://user@host/name"
