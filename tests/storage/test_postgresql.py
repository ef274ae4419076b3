"""A PostgreSQL that stops, breaks connections, or never was there."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import make_url

from assay.domain.errors import StorageError
from assay.driver.port import Secret
from assay.storage.database import Storage
from assay.storage.events import DatabaseBack, DatabaseLost, Event
from assay.storage.postgresql import Postgresql
from assay.storage.records import SandboxRecord

Open = Callable[[str], Awaitable[Storage]]

SANDBOX = SandboxRecord(
    id="s1", driver="fake", environment="e", version="v", secret=Secret(bytes(32)), created_at=1.0
)


class Postgres(Protocol):
    folder: Path

    def start(self) -> None: ...
    def stop(self, how: signal.Signals = ...) -> None: ...
    def run_sql(self, statement: str) -> str: ...


async def test_what_is_written_while_it_is_away_waits_for_it(
    postgres: Postgres, postgres_url: str, open_storage: Open, events: list[Event]
) -> None:
    storage = await open_storage(postgres_url)
    await storage.next_epoch()
    await storage.add_sandbox(SANDBOX)
    postgres.stop()
    writes = [storage.add_sandbox(replace(SANDBOX, id=f"away{n}")) for n in range(10)]
    await asyncio.sleep(0.3)
    assert not any(write.done() for write in writes)
    postgres.start()
    await asyncio.gather(*writes)
    assert len(await storage.sandboxes()) == 11
    kinds = [type(each) for each in events if isinstance(each, DatabaseLost | DatabaseBack)]
    assert kinds == [DatabaseLost, DatabaseBack]
    assert await storage.next_epoch() == 2


async def test_what_cannot_wait_any_longer_fails_and_later_all_is_well(
    postgres: Postgres, postgres_url: str, open_storage: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.storage.database.PATIENCE_SECONDS", 0.4)
    storage = await open_storage(postgres_url)
    await storage.add_sandbox(SANDBOX)
    postgres.stop()
    try:
        with pytest.raises(StorageError, match=r"cannot be reached|being stopped"):
            await storage.add_sandbox(replace(SANDBOX, id="lost"))
    finally:
        postgres.start()
    await storage.add_sandbox(replace(SANDBOX, id="s2"))
    assert [each.id for each in await storage.sandboxes()] == ["s1", "s2"]


async def test_connections_that_are_cut_cost_no_write_and_repeat_none(
    postgres: Postgres, postgres_url: str, open_storage: Open
) -> None:
    storage = await open_storage(postgres_url)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'assay'"
    writes = []
    for number in range(300):
        writes.append(storage.add_sandbox(replace(SANDBOX, id=f"s{number}")))
        if number % 60 == 30:
            await asyncio.to_thread(postgres.run_sql, cut)
        await asyncio.sleep(0.001)
    await asyncio.gather(*writes)
    assert len(await storage.sandboxes()) == 300


class Cutter:
    """A way to PostgreSQL that breaks at a commit: before it gets there, or before its answer."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self.cut: str | None = None
        self.cuts = 0

    async def serve(self, client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        server, ask = await asyncio.open_unix_connection(self._target)
        back = asyncio.create_task(self._copy(server, answer))
        try:
            while data := await client.read(65536):
                if b"COMMIT" in data and self.cut:
                    await self._break(ask, data)
                    return
                ask.write(data)
        finally:
            back.cancel()
            await asyncio.wait((back,))
            for writer in (answer, ask):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    async def _break(self, ask: asyncio.StreamWriter, data: bytes) -> None:
        if self.cut == "after":
            ask.write(data)
            await ask.drain()
            await asyncio.sleep(0.2)
        self.cut = None
        self.cuts += 1

    async def _copy(self, server: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        while data := await server.read(65536):
            # The answer to a commit that is to be cut doesn't get through.
            if self.cut != "after" or b"COMMIT" not in data:
                answer.write(data)


@pytest.fixture
async def cutter(postgres: Postgres, tmp_path: Path) -> AsyncIterator[Cutter]:
    cutter = Cutter(postgres.folder / ".s.PGSQL.5432")
    running: set[asyncio.Task[None]] = set()

    async def accept(client: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        await cutter.serve(client, answer)

    server = await asyncio.start_unix_server(accept, tmp_path / ".s.PGSQL.5432")
    yield cutter
    server.close()
    await asyncio.wait(running)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_happens_once(
    moment: str, cutter: Cutter, postgres_url: str, open_storage: Open, tmp_path: Path
) -> None:
    storage = await open_storage(postgres_url.partition("?")[0] + f"?host={tmp_path}")
    await storage.add_sandbox(SANDBOX)
    cutter.cut = moment
    assert await storage.take_sandbox("s1") is True  # twice, it would be SandboxGone
    cutter.cut = moment
    assert await storage.add_sandbox(replace(SANDBOX, id="s2")) is True
    assert cutter.cuts == 2
    assert [each.taken for each in await storage.sandboxes()] == [True, False]


async def test_who_waited_too_long_for_a_commit_is_told_so_and_the_next_is_not_taken_for_it(
    cutter: Cutter,
    postgres_url: str,
    open_storage: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = await open_storage(postgres_url.partition("?")[0] + f"?host={tmp_path}")
    cutter.cut = "after"
    with monkeypatch.context() as patched:
        patched.setattr("assay.storage.database.PATIENCE_SECONDS", 0.1)
        late = storage.add_sandbox(SANDBOX)
        with pytest.raises(StorageError, match="cannot be reached"):
            await late
    assert await storage.add_sandbox(replace(SANDBOX, id="s2")) is True
    assert len(await storage.sandboxes()) == 2


async def test_a_server_that_does_not_answer_is_a_clear_error_without_its_password(
    open_storage: Open, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        await open_storage(f"postgresql://assay:hidden@/assay?host={tmp_path}")
    assert "hidden" not in caught.value.message + caught.value.detail


async def test_a_database_that_is_not_there_is_a_clear_error(
    postgres: Postgres, open_storage: Open
) -> None:
    with pytest.raises(StorageError, match="createdb") as caught:
        await open_storage(f"postgresql://assay:hidden@/none?host={postgres.folder}")
    assert "hidden" not in caught.value.message + caught.value.detail


@pytest.mark.parametrize("right", ["", "GRANT USAGE ON SCHEMA public TO guest"])
async def test_a_user_who_may_not_make_tables_is_told_so(
    postgres: Postgres, postgres_url: str, open_storage: Open, right: str
) -> None:
    postgres.run_sql(f"DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN; {right}")
    with pytest.raises(StorageError, match="must own the database"):
        await open_storage(postgres_url.replace("assay@", "guest@"))


async def test_without_psycopg_the_remedy_is_named(
    open_storage: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match=r"pip install 'assay\[postgresql\]'"):
        await open_storage("postgresql://localhost/assay")


async def test_the_clock_of_another_machine_is_the_one_that_counts(
    postgres: Postgres, postgres_url: str, open_storage: Open
) -> None:
    storage = await open_storage(postgres_url)
    told = postgres.run_sql("SELECT extract(epoch FROM clock_timestamp())")
    assert storage.clock() == pytest.approx(float(told), abs=0.5)


async def test_a_number_that_a_crash_gives_to_another_is_not_taken_for_ours(
    postgres: Postgres, postgres_url: str, open_storage: Open
) -> None:
    """What never reached the disk is unknown after a crash, and so is its transaction's number."""
    await open_storage(postgres_url)  # makes the tables
    kind = Postgresql(make_url(postgres_url))
    session = kind.connect()
    cursor = session.cursor()
    cursor.execute(kind.begin)
    mark = kind.mark(cursor)
    assert mark is not None
    cursor.execute("SELECT pg_current_xact_id()")
    ((number,),) = cursor.fetchall()
    postgres.stop(signal.SIGKILL)
    postgres.start()
    session.close()
    session = kind.connect()
    cursor = session.cursor()
    assert kind.was_committed(cursor, mark) is False
    while int(postgres.run_sql("SELECT pg_current_xact_id()")) < int(number):
        pass
    assert postgres.run_sql(f"SELECT pg_xact_status('{number}')").strip() == "committed"
    assert kind.was_committed(cursor, mark) is False
    session.close()


async def test_a_transaction_that_is_still_at_work_is_waited_for(
    postgres: Postgres, postgres_url: str, open_storage: Open
) -> None:
    await open_storage(postgres_url)
    kind = Postgresql(make_url(postgres_url))
    writing, asking = kind.connect(), kind.connect()
    cursor = writing.cursor()
    cursor.execute(kind.begin)
    mark = kind.mark(cursor)
    assert mark is not None
    answer = asyncio.create_task(asyncio.to_thread(kind.was_committed, asking.cursor(), mark))
    await asyncio.sleep(0.2)
    assert not answer.done()
    writing.commit()
    assert await answer is True
    writing.close()
    asking.close()
