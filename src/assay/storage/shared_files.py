"""Files that clients send ahead and name later, for all servers of one PostgreSQL.

What `FileCache` promises for one server: an owner finds nothing of another one; there are bounds;
what was used longest ago goes first, and what nobody wanted. Connections of their own, so that no
lease waits for a large file.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from sqlalchemy import bindparam, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from assay.domain.errors import InvalidInput, StorageError
from assay.storage.connection import Database, Step
from assay.storage.file_cache import (
    FILE_OVERHEAD,
    MOST_BYTES,
    MOST_OWNER_BYTES,
    UNUSED_SECONDS,
    folder_of,
    require_id,
)
from assay.storage.kind import Cursor
from assay.storage.postgresql import Postgresql
from assay.storage.statements import Statement
from assay.storage.tables import SENT_FILE
from assay.storage.urls import parsed
from assay.storage.writer import PATIENCE_SECONDS, Operation, Writer

_LOCK: Final = 0x6173736179_04
_SECONDS_BETWEEN_USES: Final = 60.0
"""A file that is used again and again need not be written about each time."""

T = TypeVar("T")


class _Sql:
    """What is said to the database."""

    def __init__(self, kind: Postgresql) -> None:
        dialect, table = kind.engine.dialect, SENT_FILE
        new = insert(table)
        changed = {name: new.excluded[name] for name in ("size", "used_at", "content")}
        kept = new.on_conflict_do_update(index_elements=["owner", "id"], set_=changed)
        mine = (table.c.owner == bindparam("of"), table.c.id == bindparam("key"))
        self.put = Statement(kept, dialect)
        self.get = Statement(select(table.c.content, table.c.used_at).where(*mine), dialect)
        self.has = Statement(select(table.c.size).where(*mine), dialect)
        self.use = Statement(update(table).where(*mine).values(used_at=bindparam("now")), dialect)
        self.remove_old = Statement(
            delete(table).where(table.c.used_at < bindparam("before")), dialect
        )
        latest = (table.c.used_at.desc(), table.c.owner, table.c.id)
        held = func.sum(table.c.size).over(order_by=latest).label("held")
        listed = select(table.c.owner, table.c.id, held)

        def beyond(among: Any) -> Statement:
            surplus = select(among.c.owner, among.c.id).where(among.c.held > bindparam("most"))
            return Statement(
                delete(table).where(tuple_(table.c.owner, table.c.id).in_(surplus)), dialect
            )

        self.remove_surplus = beyond(listed.subquery())
        self.remove_owners_surplus = beyond(
            listed.where(table.c.owner == bindparam("of")).subquery()
        )


class SharedFiles:
    """Bytes by owner and id. Make one by `await SharedFiles.open(url)`."""

    def __init__(
        self,
        url: str,
        *,
        most_bytes: int = MOST_BYTES,
        most_owner_bytes: int = MOST_OWNER_BYTES,
        unused_seconds: float = UNUSED_SECONDS,
        clock: Callable[[], float] | None = None,
    ) -> None:
        found, self._loop = parsed(url), asyncio.get_running_loop()
        # Servers put one after the other: each makes room for what it has just put.
        kind = Postgresql(found, lock=_LOCK)
        self._sql = _Sql(kind)
        database = Database(kind)
        self._writing = Writer(database, self._loop, None, name="assay-files")
        reader = Database(Postgresql(found, reader=True))
        self._reading = Writer(reader, self._loop, None, name="assay-files-read")
        self._most, self._most_owner = most_bytes, most_owner_bytes
        self._unused = unused_seconds
        self._clock = clock or (lambda: time.monotonic() + database.offset)
        self._closed = False

    @classmethod
    async def open(cls, url: str, **options: Any) -> SharedFiles:
        """Open them in the server's database. Raises StorageError with the remedy."""
        files = cls(url, **options)
        await files._writing.start()
        try:
            await files._reading.start()
        except BaseException:
            await files._writing.stop()
            raise
        return files

    async def aclose(self) -> None:
        """Commit what waits, and close the connections."""
        if not self._closed:
            self._closed = True
            await self._writing.stop()
            await self._reading.stop()

    async def put(self, owner: str, file_id: str, content: bytes) -> None:
        """Keep a file; durable before this returns. Raises InvalidInput, StorageError."""
        require_id(file_id)
        size = len(content) + FILE_OVERHEAD
        if size > self._most_owner:
            raise InvalidInput(f"a file has at most {self._most_owner - FILE_OVERHEAD:,} bytes")
        folder = folder_of(owner)

        def put(cursor: Cursor) -> None:
            now = self._clock()
            row = {
                "owner": folder, "id": file_id, "size": size, "used_at": now, "content": content,
            }  # fmt: skip
            self._sql.put.run(cursor, row)
            self._sql.remove_old.run(cursor, {"before": now - self._unused})
            mine = {"of": folder, "most": self._most_owner}
            self._sql.remove_owners_surplus.run(cursor, mine)
            self._sql.remove_surplus.run(cursor, {"most": self._most})

        await self._submit(self._writing, "put_file", put)

    async def get(self, owner: str, file_id: str) -> bytes | None:
        """A file's bytes, or None. Raises InvalidInput, StorageError."""
        require_id(file_id)
        key = {"of": folder_of(owner), "key": file_id}
        rows = await self._submit(
            self._reading, "get_file", lambda cursor: self._sql.get.rows(cursor, key)
        )
        if not rows:
            return None
        now = self._clock()
        if now - rows[0]["used_at"] > _SECONDS_BETWEEN_USES:
            used = {**key, "now": now}
            await self._submit(
                self._writing, "use_file", lambda cursor: self._sql.use.run(cursor, used)
            )
        return bytes(rows[0]["content"])

    async def has(self, owner: str, file_id: str) -> bool:
        """Whether a file is there now. Raises InvalidInput, StorageError."""
        require_id(file_id)
        key = {"of": folder_of(owner), "key": file_id}
        return bool(
            await self._submit(
                self._reading, "has_file", lambda cursor: self._sql.has.rows(cursor, key)
            )
        )

    async def _submit(self, way: Writer, name: str, step: Callable[[Cursor], T]) -> T:
        if self._closed:
            raise StorageError("the storage was closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        way.submit(Operation(name, cast(Step, step), future, time.monotonic() + PATIENCE_SECONDS))
        return cast(T, await future)
