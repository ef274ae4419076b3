"""What the storage promises, on SQLite and on PostgreSQL alike."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from assay.domain.errors import SandboxGone, StorageError
from assay.domain.lease import Lease, PortMapping
from assay.domain.token import Scope, hash_of
from assay.driver.port import Secret
from assay.storage import writer
from assay.storage.database import Storage
from assay.storage.events import Committed, Event, StorageFailed
from assay.storage.records import EnvironmentRecord, ExecutionRecord, SandboxRecord
from assay.storage.tokens import issue_token

Open = Callable[[str], Awaitable[Storage]]

SANDBOX = SandboxRecord(
    id="s1",
    driver="fake",
    environment="python",
    version="v1",
    secret=Secret(bytes(range(32))),
    created_at=1000.25,
)
LEASE = Lease(
    runner_id="r-1",
    sandbox_id="s1",
    environment="python",
    version="v1",
    owner="token",
    generation=1,
    created_at=1000.5,
    inactivity_seconds=60.0,
    expires_at=None,
    active_at=1000.5,
    ports=(PortMapping(exposed_port=8080, host="127.0.0.1", port=40000),),
)
EXECUTION = ExecutionRecord(
    id="e1",
    runner_id="r-1",
    number=2**40,
    command=b'{"argv":["true"]}\0\xff',
    mode="assay.v1",
    created_at=1001.0,
)


async def with_lease(storage: Storage) -> None:
    storage.add_sandbox(SANDBOX)
    storage.take_sandbox("s1")
    await storage.add_lease(LEASE)


async def test_a_sandbox_is_kept_with_its_secret(storage: Storage) -> None:
    await storage.add_sandbox(SANDBOX)
    (found,) = await storage.sandboxes()
    assert found.secret.reveal() == SANDBOX.secret.reveal()
    assert replace(found, secret=SANDBOX.secret) == SANDBOX


async def test_a_sandbox_that_nobody_waits_for_is_kept_a_moment_later_or_when_somebody_does(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LATER_SECONDS", 30.0)
    kept = storage.add_sandbox(SANDBOX, later=True)
    await asyncio.sleep(0.05)
    assert not kept.done()
    storage.hurry()
    assert await kept
    again = storage.add_sandbox(replace(SANDBOX, id="s2"), later=True)
    await storage.take_sandbox("s1")
    assert again.done()  # it came along


async def test_sandboxes_are_found_by_their_driver(storage: Storage) -> None:
    storage.add_sandbox(SANDBOX)
    await storage.add_sandbox(replace(SANDBOX, id="s2", driver="crun"))
    assert [each.id for each in await storage.sandboxes("crun")] == ["s2"]
    assert [each.id for each in await storage.sandboxes()] == ["s1", "s2"]


async def test_a_sandbox_is_taken_once(storage: Storage) -> None:
    await storage.add_sandbox(SANDBOX)
    results = await asyncio.gather(
        *(storage.take_sandbox("s1") for _ in range(5)), return_exceptions=True
    )
    assert results[0] is True
    assert all(isinstance(each, SandboxGone) for each in results[1:])
    assert [each.taken for each in await storage.sandboxes()] == [True]


async def test_a_sandbox_that_is_gone_cannot_be_taken(storage: Storage) -> None:
    with pytest.raises(SandboxGone):
        await storage.take_sandbox("s1")


async def test_a_lease_is_kept_whole(storage: Storage) -> None:
    await with_lease(storage)
    assert await storage.leases() == [LEASE]


async def test_a_sandbox_has_one_lease(storage: Storage) -> None:
    await with_lease(storage)
    with pytest.raises(StorageError):
        await storage.add_lease(replace(LEASE, runner_id="r-2"))


async def test_the_end_of_a_lease_takes_its_sandbox_and_executions_along(storage: Storage) -> None:
    await with_lease(storage)
    await storage.add_execution(EXECUTION)
    assert await storage.end_lease("r-1") is True
    assert await storage.sandboxes() == []
    assert await storage.leases() == []
    assert await storage.executions() == []
    assert await storage.end_lease("r-1") is False


async def test_a_sandbox_that_vanished_takes_its_lease_and_executions_along(
    storage: Storage,
) -> None:
    await with_lease(storage)
    await storage.add_execution(EXECUTION)
    assert await storage.remove_sandbox("s1") is True
    assert await storage.leases() == []
    assert await storage.executions() == []


async def test_a_lease_that_is_replaced_has_a_new_sandbox_and_no_executions(
    storage: Storage,
) -> None:
    await with_lease(storage)
    storage.add_execution(EXECUTION)
    await storage.add_sandbox(replace(SANDBOX, id="s2"))
    renewed = replace(LEASE, sandbox_id="s2", generation=2, ports=())
    assert await storage.replace_lease(renewed) is True
    await storage.remove_sandbox("s1")
    assert await storage.leases() == [renewed]
    assert await storage.executions() == []


async def test_leases_are_touched_together_and_those_that_are_gone_left_out(
    storage: Storage,
) -> None:
    await with_lease(storage)
    await storage.touch_leases({"r-1": 1234.5, "r-gone": 1.0})
    assert [each.active_at for each in await storage.leases()] == [1234.5]
    await storage.touch_leases({})


async def test_an_execution_is_kept_until_it_is_removed(storage: Storage) -> None:
    await with_lease(storage)
    await storage.add_execution(EXECUTION)
    assert await storage.executions("r-1") == [EXECUTION]
    assert await storage.executions("r-2") == []
    assert await storage.mark_started("e1") is True
    assert await storage.executions() == [replace(EXECUTION, started=True)]
    assert await storage.remove_execution("e1") is True
    assert await storage.remove_execution("e1") is False
    assert await storage.mark_started("e1") is False


async def test_an_execution_needs_a_lease(storage: Storage) -> None:
    with pytest.raises(StorageError):
        await storage.add_execution(EXECUTION)


async def test_an_environment_is_replaced_by_one_of_its_name(storage: Storage) -> None:
    first = EnvironmentRecord(name="python", definition=b"{}", updated_at=1.0)
    second = replace(first, definition=b'{"pool_size":3}', updated_at=2.0)
    assert await storage.put_environment(first) is True
    assert await storage.put_environment(second) is False
    assert await storage.environments() == [second]
    assert await storage.remove_environment("python") is True
    assert await storage.remove_environment("python") is False


async def test_a_token_is_found_by_its_hash_alone(storage: Storage) -> None:
    text, record = issue_token(
        name="CodeOcean", scopes=["run", "read"], now=5.0, most_runners=3, requests_per_second=0.5
    )
    await storage.add_token(record)
    assert await storage.token_by_hash(hash_of(text)) == record
    assert record.scopes == {Scope.RUN, Scope.READ}
    assert await storage.token_by_hash(hash_of(text + "x")) is None


async def test_a_token_is_revoked_once_and_stays_known(storage: Storage) -> None:
    _, record = issue_token(name="old", scopes=["run"], now=5.0)
    await storage.add_token(record)
    assert await storage.revoke_token(record.id) is True
    assert await storage.revoke_token(record.id) is False
    (found,) = await storage.tokens()
    assert found.revoked_at == pytest.approx(storage.clock(), abs=5)
    assert not found.is_good(storage.clock())


async def test_starts_of_a_server_are_counted(url: str, open_storage: Open) -> None:
    for count in (1, 2, 3):
        storage = await open_storage(url)
        assert await storage.next_epoch() == count
        await storage.aclose()


async def test_epochs_are_never_given_twice(storage: Storage) -> None:
    counted = await asyncio.gather(*(storage.next_epoch() for _ in range(20)))
    assert sorted(counted) == list(range(1, 21))


async def test_the_clock_is_the_databases(storage: Storage) -> None:
    assert storage.clock() == pytest.approx(time.time(), abs=5)
    assert await storage.now() == pytest.approx(time.time(), abs=5)


async def test_what_was_asked_for_before_a_question_is_in_its_answer(storage: Storage) -> None:
    for number in range(50):
        storage.add_sandbox(replace(SANDBOX, id=f"s{number:02}"))
    assert len(await storage.sandboxes()) == 50


async def test_writes_of_one_caller_happen_in_their_order(storage: Storage) -> None:
    for _ in range(30):
        storage.add_sandbox(SANDBOX)
        storage.take_sandbox("s1")
        storage.remove_sandbox("s1")
    await storage.add_sandbox(SANDBOX)
    (found,) = await storage.sandboxes()
    assert not found.taken


async def test_a_write_that_fails_takes_no_other_along(
    storage: Storage, events: list[Event]
) -> None:
    asked = [storage.add_sandbox(replace(SANDBOX, id=f"s{n}")) for n in range(20)]
    asked.insert(10, storage.add_lease(replace(LEASE, sandbox_id="none")))
    asked.append(storage.add_sandbox(replace(SANDBOX, id="s3")))
    asked.append(storage.add_sandbox(replace(SANDBOX, id="last")))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(each, StorageError) for each in results] == [
        position in (10, 21) for position in range(23)
    ]
    assert len(await storage.sandboxes()) == 21
    failed = [each.operation for each in events if isinstance(each, StorageFailed)]
    assert failed == ["add_lease", "add_sandbox"]


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
async def test_a_text_that_no_database_keeps_fails_alone(storage: Storage, name: str) -> None:
    before = storage.add_sandbox(SANDBOX)
    strange = storage.put_environment(
        EnvironmentRecord(name=name, definition=b"", updated_at=float("nan"))
    )
    after = storage.add_sandbox(replace(SANDBOX, id="s2"))
    await asyncio.gather(before, after)
    try:
        await strange
    except StorageError:
        assert await storage.environments() == []


async def test_a_text_is_never_a_statement(storage: Storage) -> None:
    name = "'; DROP TABLE sandbox; -- %s %(key)s ? :key"
    await storage.put_environment(EnvironmentRecord(name=name, definition=b"", updated_at=1.0))
    assert [each.name for each in await storage.environments()] == [name]
    assert await storage.remove_environment(name) is True
    assert await storage.sandboxes() == []


async def test_nobody_hears_of_a_failed_write_that_nobody_waits_for(
    storage: Storage, events: list[Event]
) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))
    storage.add_execution(EXECUTION)
    await storage.sandboxes()
    assert [each.operation for each in events if isinstance(each, StorageFailed)] == [
        "add_execution"
    ]
    assert complaints == []


async def test_a_write_happens_when_its_caller_is_cancelled(storage: Storage) -> None:
    async def write() -> None:
        await storage.add_sandbox(SANDBOX)

    task = asyncio.create_task(write())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait((task,))
    assert [each.id for each in await storage.sandboxes()] == ["s1"]


async def test_much_at_once_is_few_commits(storage: Storage, events: list[Event]) -> None:
    await asyncio.gather(*(storage.add_sandbox(replace(SANDBOX, id=f"{n}")) for n in range(500)))
    committed = [each for each in events if isinstance(each, Committed)]
    assert sum(each.operations for each in committed) == 500
    assert len(committed) < 20


async def test_what_nobody_waits_for_comes_along_with_the_next_write(
    storage: Storage, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LATER_SECONDS", 30.0)
    await storage.add_sandbox(SANDBOX)
    events.clear()
    removed = storage.remove_sandbox("s1")
    await asyncio.sleep(0.01)
    assert events == []
    await storage.add_sandbox(replace(SANDBOX, id="s2"))
    assert removed.done()
    assert [each.operations for each in events if isinstance(each, Committed)] == [2]


async def test_what_nobody_waits_for_is_soon_written_all_the_same(storage: Storage) -> None:
    await storage.add_sandbox(SANDBOX)
    async with asyncio.timeout(20):
        assert await storage.remove_sandbox("s1")


async def test_a_question_sees_what_nobody_waits_for(storage: Storage) -> None:
    await storage.add_sandbox(SANDBOX)
    storage.remove_sandbox("s1")
    assert await storage.sandboxes() == []


async def test_the_end_commits_what_nobody_waits_for(url: str, open_storage: Open) -> None:
    storage = await open_storage(url)
    await storage.add_sandbox(SANDBOX)
    storage.remove_sandbox("s1")
    await storage.aclose()
    again = await open_storage(url)
    assert await again.sandboxes() == []


async def test_the_end_commits_what_waits(url: str, open_storage: Open) -> None:
    storage = await open_storage(url)
    for number in range(100):
        storage.add_sandbox(replace(SANDBOX, id=f"s{number}"))
    await storage.aclose()
    await storage.aclose()
    again = await open_storage(url)
    assert len(await again.sandboxes()) == 100


async def test_after_the_end_everything_fails(url: str, open_storage: Open) -> None:
    storage = await open_storage(url)
    await storage.aclose()
    with pytest.raises(StorageError, match="closed"):
        await storage.add_sandbox(SANDBOX)
    with pytest.raises(StorageError, match="closed"):
        await storage.leases()


async def test_an_observer_that_fails_costs_no_write(url: str) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    def fail(event: Event) -> None:
        raise RuntimeError(event)

    storage = await Storage.open(url, on_event=fail)
    await storage.add_sandbox(SANDBOX)
    await storage.aclose()
    assert complaints


async def test_a_database_has_one_server_and_other_users(
    url: str, open_storage: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.storage.postgresql.HANDOVER_SECONDS", 0.2)
    server, other = await open_storage(url), await open_storage(url)
    await server.next_epoch()
    with pytest.raises(StorageError, match="another server"):
        await other.next_epoch()
    await other.add_sandbox(SANDBOX)
    assert len(await server.sandboxes()) == 1
    await server.aclose()
    assert await other.next_epoch() == 2
