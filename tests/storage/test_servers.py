"""Several servers of one database: who has what, and that nobody writes who was given up."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from tests.storage.postgres import Postgres
from tests.storage.test_storage import EXECUTION, LEASE, SANDBOX

from assay.domain.errors import SandboxGone, StorageError
from assay.driver.port import Secret
from assay.storage.database import Storage
from assay.storage.records import Held, ServerRecord

Open = Callable[[str], Awaitable[Storage]]

A = ServerRecord(id="a", address="http://127.0.0.1:1", place="here", secret=Secret(bytes(32)))
B = replace(A, id="b", address="http://127.0.0.1:2")


async def seen(storage: Storage) -> dict[str, ServerRecord]:
    servers, _ = await storage.beat(draining=False, held={})
    return {each.id: each for each in servers}


@pytest.fixture
async def two(postgres_url: str, open_storage: Open) -> tuple[Storage, Storage]:
    first, second = await open_storage(postgres_url), await open_storage(postgres_url)
    await first.join(A)
    await second.join(B)
    return first, second


async def test_servers_see_one_another_with_growing_epochs(two: tuple[Storage, Storage]) -> None:
    first, second = two
    _, now = await first.beat(draining=True, held={"token": Held(runners=3, executions=1)})
    found = await seen(second)
    assert [found[name].epoch for name in "ab"] == [1, 2]
    assert found["a"].held == {"token": Held(runners=3, executions=1)}
    assert (found["a"].draining, found["a"].heartbeat_at) == (True, now)
    assert found["a"].secret.reveal() == A.secret.reveal()


async def test_a_sandbox_is_its_makers_and_a_runner_is_found_by_it(
    two: tuple[Storage, Storage],
) -> None:
    first, second = two
    await first.add_sandbox(SANDBOX)
    await first.add_lease(LEASE)
    located = await second.locate("r-1")
    assert located is not None
    assert located.id == "a"
    assert await second.locate("r-2") is None
    assert [(each.server, each.epoch) for each in await second.sandboxes()] == [("a", 1)]


async def test_what_is_taken_over_is_so_once_and_with_the_next_epoch(
    two: tuple[Storage, Storage], postgres_url: str, open_storage: Open
) -> None:
    first, second = two
    third = await open_storage(postgres_url)
    await third.join(replace(B, id="c", address="http://127.0.0.1:3"))
    await first.add_sandbox(SANDBOX)
    former = (await seen(second))["a"]
    taken = await asyncio.gather(second.take_over(former), third.take_over(former))
    (successor,) = [each for each in taken if each is not None]
    assert successor.epoch > 3
    (record,) = await second.sandboxes()
    assert (record.server, record.epoch) == (successor.id, successor.epoch)
    assert "a" not in await seen(second)


async def test_who_was_heard_of_meanwhile_is_not_taken_over(two: tuple[Storage, Storage]) -> None:
    first, second = two
    former = (await seen(second))["a"]
    await first.beat(draining=False, held={})
    assert await second.take_over(former) is None
    assert not first.fenced


async def test_who_was_taken_over_writes_nothing_any_more(two: tuple[Storage, Storage]) -> None:
    first, second = two
    await first.add_sandbox(SANDBOX)
    await first.add_lease(LEASE)
    assert await second.take_over((await seen(second))["a"]) is not None
    for write in (
        first.take_sandbox("s1"),
        first.remove_sandbox("s1"),
        first.end_lease("r-1"),
        first.touch_leases({"r-1": 9999.0}),
        first.add_execution(EXECUTION),
        first.add_sandbox(replace(SANDBOX, id="s2")),
    ):
        with pytest.raises(StorageError, match="taken over"):
            await write
    with pytest.raises(StorageError, match="taken over"):
        await first.beat(draining=False, held={})
    assert first.fenced
    assert await second.leases() == [LEASE]
    assert await second.executions() == []
    await second.take_sandbox("s1")
    with pytest.raises(SandboxGone):
        await second.take_sandbox("s1")


async def test_who_lets_go_can_be_taken_over_at_once(two: tuple[Storage, Storage]) -> None:
    first, second = two
    await first.add_sandbox(SANDBOX)
    await first.let_go()
    former = (await seen(second))["a"]
    assert (former.heartbeat_at, former.draining) == (0.0, True)
    assert await second.take_over(former) is not None


async def test_the_next_at_an_address_has_what_the_former_had(
    two: tuple[Storage, Storage], postgres_url: str, open_storage: Open
) -> None:
    first, second = two
    await first.add_sandbox(SANDBOX)
    again = await open_storage(postgres_url)
    joined, formers = await again.join(replace(A, id="a2"))
    assert [each.id for each in formers] == ["a"]
    assert [(each.server, each.epoch) for each in await again.sandboxes()] == [("a2", joined.epoch)]
    assert set(await seen(second)) == {"a2", "b"}


async def test_one_that_is_alone_keeps_others_out_and_leaves_them_what_it_had(
    postgres_url: str, open_storage: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.storage.postgresql.HANDOVER_SECONDS", 0.2)
    alone, other = await open_storage(postgres_url), await open_storage(postgres_url)
    await alone.next_epoch()
    await alone.add_sandbox(SANDBOX)
    with pytest.raises(StorageError, match="--advertise"):
        await other.join(B)
    await alone.aclose()
    await other.join(B)
    assert [each.server for each in await other.sandboxes()] == ["b"]
    last = await open_storage(postgres_url)
    with pytest.raises(StorageError, match="another server"):
        await last.next_epoch()
    await other.aclose()
    await last.next_epoch()
    assert [(each.server, each.epoch) for each in await last.sandboxes()] == [(None, None)]


async def test_a_file_has_one_server(tmp_path: object, open_storage: Open) -> None:
    storage = await open_storage(f"sqlite:///{tmp_path}/state/assay.db")
    with pytest.raises(StorageError, match="several need PostgreSQL"):
        await storage.join(A)


async def test_a_transaction_in_which_its_server_was_stopped_holds_nobody_up(
    two: tuple[Storage, Storage],
) -> None:
    """As SIGSTOP does it, at the worst moment."""
    first, second = two
    former = (await seen(second))["a"]
    slow = first._submit("stopped", lambda cursor: cursor.execute("SELECT 1") and _stop())
    await asyncio.sleep(0.3)
    async with asyncio.timeout(8):
        assert await second.take_over(former) is not None
    with pytest.raises(StorageError, match="taken over"):
        await slow


def _stop() -> None:
    import time

    time.sleep(6)


async def test_all_servers_of_a_database_find_one_key_however_they_start(
    postgres_url: str, postgres: Postgres, open_storage: Open
) -> None:
    opened = [await open_storage(postgres_url) for _ in range(4)]
    keys = await asyncio.gather(*(each.installation() for each in opened))
    assert len({key.reveal() for key in keys if key is not None}) == 1
    again = await (await open_storage(postgres_url)).installation()
    assert again is not None
    assert again.reveal() == keys[0].reveal()  # type: ignore[union-attr]
    another = await (await open_storage(postgres.empty_database())).installation()
    assert another is not None
    assert another.reveal() != again.reveal()


async def test_the_epoch_is_that_of_what_a_server_has_now(two: tuple[Storage, Storage]) -> None:
    first, second = two
    assert (first.epoch, second.epoch) == (1, 2)
    taken = await second.take_over((await seen(second))["a"])
    assert taken is not None
    assert second.epoch == taken.epoch > 2
