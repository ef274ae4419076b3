"""Migrations: what they make equals the tables, and what they don't know is left alone."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Table, Text, inspect, text
from tests.storage.new_migration import write

from assay.domain.errors import StorageError
from assay.storage.database import Storage
from assay.storage.schema import HEAD, MIGRATIONS, configuration, revision_of
from assay.storage.tables import METADATA
from assay.storage.tokens import issue_token
from assay.storage.urls import kind_of

Open = Callable[[str], Awaitable[Storage]]


def differences(connection: Connection) -> object:
    options = {"compare_type": True, "compare_server_default": True}
    return compare_metadata(MigrationContext.configure(connection, opts=options), METADATA)


def test_the_newest_migration_is_the_one_that_is_named() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [HEAD]


async def test_a_new_database_has_the_tables_at_once(url: str, storage: Storage) -> None:
    engine = kind_of(url).engine
    with engine.begin() as connection:
        assert revision_of(connection) == HEAD
        assert differences(connection) == []
    engine.dispose()


def test_the_migrations_make_what_the_tables_say(url: str) -> None:
    kind = kind_of(url)
    kind.prepare()
    with kind.engine.begin() as connection:
        command.upgrade(configuration(connection), "head")
        assert differences(connection) == []
    kind.engine.dispose()


async def test_a_difference_is_seen(url: str, storage: Storage) -> None:
    engine = kind_of(url).engine
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_execution_runner_id"))
        assert differences(connection)
    engine.dispose()


async def test_every_migration_can_be_taken_back_and_made_again(url: str, storage: Storage) -> None:
    await storage.aclose()
    engine = kind_of(url).engine
    revisions = [each.revision for each in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
    with engine.begin() as connection:
        wanted = configuration(connection)
        for revision in [*revisions[1:], "base"]:
            command.downgrade(wanted, revision)
        assert set(inspect(connection).get_table_names()) == {"alembic_version"}
        for revision in reversed(revisions):
            command.upgrade(wanted, revision)
        assert differences(connection) == []
    engine.dispose()


async def test_sandboxes_of_before_several_servers_are_nobodys(
    url: str, storage: Storage, open_storage: Open
) -> None:
    await storage.aclose()
    engine = kind_of(url).engine
    with engine.begin() as connection:
        command.downgrade(configuration(connection), "0001")
        connection.execute(
            text(
                "INSERT INTO sandbox (id, driver, environment, version, secret, created_at, taken)"
                " VALUES ('s1', 'fake', 'python', 'v1', :secret, 1.0, :taken)"
            ),
            {"secret": bytes(32), "taken": True},
        )
    engine.dispose()
    (found,) = await (await open_storage(url)).sandboxes()
    assert (found.id, found.taken, found.server, found.epoch) == ("s1", True, None, None)


async def test_a_database_of_a_newer_assay_is_left_alone(
    url: str, storage: Storage, open_storage: Open
) -> None:
    await storage.aclose()
    engine = kind_of(url).engine
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageError, match=r"newer Assay.*9999.*install"):
        await open_storage(url)
    with engine.begin() as connection:
        assert revision_of(connection) == "9999"
    engine.dispose()


async def test_several_may_make_the_tables_at_the_same_time(url: str, open_storage: Open) -> None:
    opened = await asyncio.gather(*(open_storage(url) for _ in range(4)))
    assert [await each.sandboxes() for each in opened] == [[], [], [], []]


def test_neither_a_new_database_nor_a_current_one_needs_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state/assay.db"
    program = (
        "import asyncio, sys\n"
        "from assay.storage.database import Storage\n"
        "async def main():\n"
        "    for _ in range(2):\n"
        f"        await (await Storage.open({url!r})).aclose()\n"
        "asyncio.run(main())\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_new_migration_is_written_from_the_difference(tmp_path: Path) -> None:
    more = Table("grade", METADATA, Column("id", Text, primary_key=True))
    try:
        written = write("Keep what is graded", tmp_path)
    finally:
        METADATA.remove(more)
    assert written.name == f"v{int(HEAD) + 1:04}_keep_what_is_graded.py"
    namespace: dict[str, object] = {}
    exec(compile(written.read_text(), written, "exec"), namespace)
    assert (namespace["revision"], namespace["down_revision"]) == (f"{int(HEAD) + 1:04}", HEAD)
    assert "create_table('grade'" in written.read_text()
    assert "drop_table('grade'" in written.read_text()


async def test_tokens_of_before_teach_all_courses_and_none_teaches_more_than_it_did(
    url: str, storage: Storage, open_storage: Open
) -> None:
    for name, courses in (("all", ()), ("some", ("algebra",))):
        _, record = issue_token(name=name, scopes=("teach",), now=1.0, courses=courses)
        await storage.add_token(record)
    await storage.aclose()
    engine = kind_of(url).engine
    with engine.begin() as connection:
        command.downgrade(configuration(connection), "0010")
        asked = "SELECT name, revoked_at FROM token ORDER BY name"
        before = {row.name: row.revoked_at for row in connection.execute(text(asked))}
    engine.dispose()
    assert before == {"all": None, "some": 1.0}
    found = {each.name: each for each in await (await open_storage(url)).tokens()}
    assert (found["all"].courses, found["all"].revoked_at) == (frozenset(), None)
    assert found["some"].revoked_at == 1.0


async def test_submissions_of_before_there_were_campaigns_are_learners_own(
    url: str, storage: Storage, open_storage: Open
) -> None:
    await storage.aclose()
    engine = kind_of(url).engine
    with engine.begin() as connection:
        command.downgrade(configuration(connection), "0004")
        connection.execute(
            text(
                "INSERT INTO submission (id, owner, digest, course, task, learner, priority, state,"
                " submitted_at, environment, task_hash, attempts, claim)"
                " VALUES ('s1', '', :digest, 'c', 't', 'ada', 0, 'done', 1.0, '', '', 1, 1)"
            ),
            {"digest": bytes(16)},
        )
    engine.dispose()
    await open_storage(url)
    engine = kind_of(url).engine
    with engine.begin() as connection:
        found = connection.execute(text("SELECT original, revision FROM submission")).one()
        assert tuple(found) == (None, 0)
    engine.dispose()
