"""The storage: every question and every write of a server.

A write is an `asyncio.Future` that is done when the write is committed; whoever needn't know
doesn't await it. Writes happen in the order in which they were asked for, and a question sees all
that was asked for before it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar, cast

from sqlalchemy import Table, select

from assay.domain.errors import SandboxGone, StorageError
from assay.domain.lease import Lease
from assay.driver.port import Secret
from assay.storage import rows
from assay.storage.connection import Database, Step
from assay.storage.events import Event
from assay.storage.installation import InstallationKey
from assay.storage.kind import Cursor, Kind
from assay.storage.records import (
    EnvironmentRecord,
    ExecutionRecord,
    Held,
    SandboxRecord,
    ServerRecord,
    TokenRecord,
)
from assay.storage.statements import Statement, Statements, Values
from assay.storage.tables import ENVIRONMENT, EXECUTION, LEASE, SANDBOX, TOKEN
from assay.storage.urls import kind_of
from assay.storage.writer import PATIENCE_SECONDS, Operation, Writer

_EPOCH: Final = "epoch"

T = TypeVar("T")


class Storage:
    """A server's database. Make one by `await Storage.open(url)`."""

    def __init__(self, kind: Kind, *, on_event: Callable[[Event], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._kind = kind
        self._database = Database(kind)
        self._dialect = kind.engine.dialect
        self._sql = Statements(self._dialect)
        self._writer = Writer(self._database, self._loop, on_event)
        self._closed = False
        self._server: ServerRecord | None = None
        self._epoch = 0

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
            self._sql.end_servers.run(cursor, {})
            self._sql.disown.run(cursor, {})
            return self._count(cursor)

        self._epoch = await self._submit("next_epoch", count)
        return self._epoch

    @property
    def epoch(self) -> int:
        """Of what this server has now: counted when it began, and when it took over from another;
        0 before that.
        """
        return self._epoch

    async def installation(self) -> Secret | None:
        """What all servers of this database know and nobody else, made by the first of them.

        None where a database has never more than one.
        """
        if not self._kind.has_servers:
            return None
        return await self._submit("installation", InstallationKey(self._kind).find)

    def _count(self, cursor: Cursor) -> int:
        if not self._sql.count.run(cursor, {"key": _EPOCH}):
            self._sql.add_counter.run(cursor, {"name": _EPOCH, "value": 1})
        (counter,) = self._sql.counted.rows(cursor, {"key": _EPOCH})
        return int(counter["value"])

    # --- one server of several ---

    @property
    def server(self) -> ServerRecord | None:
        """This server's record, once it has joined others."""
        return self._server

    @property
    def fenced(self) -> bool:
        """Whether another server has taken over what was this one's: nothing works any more."""
        return self._database.fenced

    async def join(self, record: ServerRecord) -> tuple[ServerRecord, list[ServerRecord]]:
        """Be one of this database's servers, with the next epoch; and who had before what is its.

        That is what nobody had, or a server of the same place that has let go, or one with the same
        address: it is gone, for two can't listen there. Raises StorageError while a server is
        alone here.
        """

        def enter(cursor: Cursor) -> tuple[ServerRecord, list[ServerRecord]]:
            self._database.become_server(cursor, alone=False)
            now = self._database.now(cursor)
            joined = replace(record, epoch=self._count(cursor), heartbeat_at=now)
            there = (rows.server_of(row) for row in self._sql.servers.rows(cursor))
            formers = [
                former
                for former in there
                if former.is_free_for(record) and self._succeed(cursor, former, joined)
            ]
            self._sql.adopt.run(cursor, _new_owner(joined))
            self._sql.add_server.run(cursor, rows.server_values(joined))
            return joined, formers

        joined, formers = await self._submit("join", enter)
        self._server, self._epoch = joined, joined.epoch
        self._database.fence(joined.id)
        return joined, formers

    async def beat(
        self, *, draining: bool, held: Mapping[str, Held]
    ) -> tuple[list[ServerRecord], float]:
        """Say that this server lives, and return all servers, with the time of this heartbeat.

        Raises StorageError; when `fenced`, it is so for ever.
        """
        key, values = self._joined.id, {"draining": draining, "held": rows.encoded_held(held)}

        def beat(cursor: Cursor) -> tuple[list[ServerRecord], float]:
            now = self._database.now(cursor)
            self._sql.beat.run(cursor, {"key": key, "heartbeat_at": now, **values})
            return [rows.server_of(row) for row in self._sql.servers.rows(cursor)], now

        return await self._submit("beat", beat)

    async def take_over(self, former: ServerRecord) -> ServerRecord | None:
        """Have what another server had, with the next epoch, which this one has from then on.

        None: somebody else has it, or that server was heard of meanwhile.
        """

        def take(cursor: Cursor) -> ServerRecord | None:
            epoch = self._count(cursor)
            taking = replace(self._joined, epoch=epoch)
            return taking if self._succeed(cursor, former, taking) else None

        taken = await self._submit("take_over", take)
        if taken is not None:
            self._server, self._epoch = taken, taken.epoch
        return taken

    def _succeed(self, cursor: Cursor, former: ServerRecord, successor: ServerRecord) -> bool:
        ended = {"key": former.id, "seen": former.heartbeat_at}
        if not self._sql.end_server.run(cursor, ended):
            return False
        self._sql.hand_over.run(cursor, {"key": former.id, **_new_owner(successor)})
        return True

    async def let_go(self) -> None:
        """Be no server any more: whoever wants it may have what was this one's, at once."""
        key = self._joined.id

        def end(cursor: Cursor) -> bool:
            return self._sql.let_go.run(cursor, {"key": key}) > 0

        await self._submit("let_go", end)

    async def locate(self, runner_id: str) -> ServerRecord | None:
        """The server that has a runner, or None: there is no such runner."""

        def find(cursor: Cursor) -> ServerRecord | None:
            found = self._sql.locate.rows(cursor, {"key": runner_id})
            return rows.server_of(found[0]) if found else None

        return await self._submit("locate", find)

    @property
    def _joined(self) -> ServerRecord:
        assert self._server is not None
        return self._server

    # --- sandboxes ---

    def hurry(self) -> None:
        """Somebody waits for what was to be written later."""
        self._writer.hand_over()

    def add_sandbox(self, record: SandboxRecord, *, later: bool = False) -> asyncio.Future[bool]:
        """Know a sandbox before anybody can have it; `later`: nobody wants it at once."""
        if self._server is not None:
            record = replace(record, server=self._server.id, epoch=self._server.epoch)
        values = rows.sandbox_values(record)
        return self._write("add_sandbox", self._sql.add_sandbox, values, later=later)

    def take_sandbox(self, sandbox_id: str, *, later: bool = False) -> asyncio.Future[bool]:
        """Hand it to somebody, once and for all. SandboxGone: there is none, or it is taken.

        `later`: for who knows by itself that nobody has it.
        """
        statement = self._sql.take_sandbox

        def take(cursor: Cursor) -> bool:
            if not statement.run(cursor, {"key": sandbox_id}):
                raise SandboxGone(f"the sandbox {sandbox_id} is gone, or somebody's already")
            return True

        return self._submit("take_sandbox", take, later=later)

    def condemn_sandbox(self, sandbox_id: str) -> asyncio.Future[bool]:
        """Let nobody have it who comes later: it is about to be destroyed."""
        return self._write("condemn_sandbox", self._sql.condemn_sandbox, {"key": sandbox_id})

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


def _new_owner(server: ServerRecord) -> Values:
    return {"new_server": server.id, "new_epoch": server.epoch}
