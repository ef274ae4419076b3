"""Whatever is killed, every submission is graded once, with the right grade, and none is lost."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.grading.queue.conftest import Open, Spawn, made
from tests.storage.postgres import Postgres

from assay.domain.errors import AssayError, StorageError
from assay.domain.submission import KeptResult, NewSubmission, State, Work
from assay.grading.queue import lease
from assay.grading.submissions import Submissions
from assay.grading.worker import Worker

pytestmark = pytest.mark.slow


@pytest.fixture
def short_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process: who looks after others' leases, and how long it gives its own."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr("assay.grading.worker._TEND_SECONDS", 0.2)


async def hand_in(submissions: Submissions, count: int) -> dict[str, int]:
    """So many, of ten learners; the right grade of each, which is its content's length."""
    news = [made(f"l{number % 10}", content=bytes(number % 50 + 1)) for number in range(count)]
    receipts = await asyncio.gather(*(submissions.submit(each) for each in news))
    return {each.id: len(new.content) for each, new in zip(receipts, news, strict=True)}


async def require_graded(submissions: Submissions, expected: dict[str, int], within: float) -> None:
    deadline = time.monotonic() + within
    for name, grade in expected.items():
        found = await submissions.wait_until_over(name, max(deadline - time.monotonic(), 0))
        assert found.state is State.DONE, found
        result = await submissions.result(name)
        assert result is not None
        assert json.loads(result) == {"grade": grade}


async def grade(work: Work) -> KeptResult:
    await asyncio.sleep(0.01)
    return KeptResult(result=json.dumps({"grade": len(work.content)}).encode())


async def until_leased(submissions: Submissions, count: int) -> None:
    for _ in range(400):
        if (await submissions.counts()).leased == count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError


async def attempts(submissions: Submissions, names: Iterable[str]) -> set[int]:
    return {(await submissions.get(name)).attempts for name in names}


def graded(printed: bytes) -> list[str]:
    return [line.split()[1] for line in printed.decode().splitlines() if line.startswith("graded")]


@pytest.mark.timeout(120)
async def test_two_workers_never_have_the_same(
    submissions: Submissions, spawn_worker: Spawn
) -> None:
    workers = [await spawn_worker(seconds=0.005) for _ in range(2)]
    expected = await hand_in(submissions, 120)
    await require_graded(submissions, expected, within=40)
    printed = []
    for worker in workers:
        worker.terminate()
        printed.append(graded((await worker.communicate())[0]))
        assert worker.returncode == 0
    assert all(len(each) > 10 for each in printed)
    assert sorted(printed[0] + printed[1]) == sorted(expected)
    assert (await submissions.counts()).slots == 0


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("short_leases")
async def test_what_a_killed_worker_had_is_graded_by_another(
    submissions: Submissions, spawn_worker: Spawn
) -> None:
    expected = await hand_in(submissions, 60)
    victim = await spawn_worker(seconds=0.4, slots=8)
    assert victim.stdout is not None
    finished = [await victim.stdout.readline() for _ in range(8)]
    victim.kill()
    finished += (await victim.communicate())[0].splitlines()
    leased = (await submissions.counts()).leased
    assert leased > 0
    assert len(finished) < len(expected)
    worker = Worker(submissions, grade, slots=8)
    running = asyncio.create_task(worker.run())
    # Its leases are those that its own process gave it.
    await require_graded(submissions, expected, within=lease.LEASE_SECONDS + 40)
    worker.stop()
    await running
    again = [await submissions.get(name) for name in expected]
    assert sum(each.attempts > 1 for each in again) == leased


@pytest.mark.timeout(120)
async def test_a_server_that_starts_alone_takes_back_at_once(
    url: str, submissions: Submissions, spawn_worker: Spawn, open_submissions: Open
) -> None:
    expected = await hand_in(submissions, 10)
    victim = await spawn_worker(seconds=60.0, slots=10)
    await until_leased(submissions, 10)
    victim.kill()
    await submissions.aclose()
    fresh = await open_submissions(url)
    assert len((await fresh.store.recover()).lost) == 10
    worker = Worker(fresh, grade, slots=8)
    running = asyncio.create_task(worker.run())
    started = time.monotonic()
    await require_graded(fresh, expected, within=20)
    assert time.monotonic() - started < lease.LEASE_SECONDS
    worker.stop()
    await running


@pytest.mark.timeout(120)
async def test_a_worker_that_is_told_to_end_finishes_what_it_has(
    submissions: Submissions, spawn_worker: Spawn
) -> None:
    expected = await hand_in(submissions, 30)
    worker = await spawn_worker(seconds=60.0, slots=5)
    await until_leased(submissions, 5)
    worker.send_signal(signal.SIGTERM)
    done = graded((await worker.communicate())[0])
    assert worker.returncode == 0
    assert len(done) == 5
    counts = await submissions.counts()
    assert (counts.waiting, counts.leased, counts.slots) == (25, 0, 0)
    assert await attempts(submissions, expected) == {0, 1}


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("short_leases")
@pytest.mark.parametrize("jump", [3600.0, -3600.0])
async def test_a_clock_that_jumps_takes_nothing_from_the_living(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    monkeypatch.setattr("assay.grading.worker.BEAT_SECONDS", 0.3)
    kind = submissions.store._place.writing
    honest = kind.clock
    runs: list[str] = []

    async def slowly(work: Work) -> KeptResult:
        runs.append(work.submission.id)
        await asyncio.sleep(2.5)
        return await grade(work)

    worker = Worker(submissions, slowly, slots=4)
    running = asyncio.create_task(worker.run())
    expected = await hand_in(submissions, 4)
    await asyncio.sleep(0.5)
    monkeypatch.setattr(kind, "clock", lambda cursor: honest(cursor) + jump)
    submissions.store._database._sampled_at = 0.0
    await require_graded(submissions, expected, within=15)
    assert sorted(runs) == sorted(expected)  # each once
    assert await attempts(submissions, expected) == {1}
    worker.stop()
    await running


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("short_leases")
async def test_after_a_jump_back_the_dead_are_given_up_all_the_same(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await hand_in(submissions, 3)
    assert len(await submissions.store.claim("dead", 3, {})) == 3
    kind = submissions.store._place.writing
    honest = kind.clock
    monkeypatch.setattr(kind, "clock", lambda cursor: honest(cursor) - 3600)
    submissions.store._database._sampled_at = 0.0
    worker = Worker(submissions, grade, slots=4)
    running = asyncio.create_task(worker.run())
    await require_graded(submissions, expected, within=20)
    worker.stop()
    await running


@pytest.mark.timeout(120)
async def test_postgresql_is_killed_in_the_middle(
    postgres: Postgres, postgres_url: str, open_submissions: Open
) -> None:
    submissions = await open_submissions(postgres_url)
    worker = Worker(submissions, grade, slots=8)
    running = asyncio.create_task(worker.run())
    expected: dict[str, int] = {}

    async def keep_handing_in(column: int) -> None:
        for number in range(20):
            new = made(f"l{column}", content=bytes(number + 1), key=f"{column}-{number}")
            expected[await insist(submissions, new)] = number + 1
            await asyncio.sleep(0.02)

    handing_in = asyncio.gather(*(keep_handing_in(column) for column in range(8)))
    try:
        for _ in range(2):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(postgres.stop, signal.SIGKILL)
            await asyncio.sleep(0.2)
            postgres.start()  # here: it must not outlive the thread that starts it
    finally:
        if postgres._process is None:
            postgres.start()
    await handing_in
    assert len(expected) == 160
    await require_graded(submissions, expected, within=60)
    assert await attempts(submissions, expected) == {1}
    worker.stop()
    await running
    # Whoever was told by a connection that broke hears again.
    assert submissions.store._notices is not None
    assert not submissions.store._notices._listening.done()


async def insist(submissions: Submissions, new: NewSubmission) -> str:
    """As a client with a key of its own does."""
    while True:
        try:
            return (await submissions.submit(new)).id
        except AssayError:
            await asyncio.sleep(0.1)


@pytest.mark.timeout(120)
async def test_a_full_disk_costs_nothing_that_was_acknowledged(
    tmp_path: Path, open_submissions: Open
) -> None:
    submissions = await open_submissions(f"sqlite:///{tmp_path}/state/assay.db")

    async def limit(pages: int) -> None:
        def step(cursor: object) -> None:
            cursor.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[attr-defined]

        await submissions.store._write("limit", step)

    await limit(200)
    acknowledged: dict[str, int] = {}
    refused: list[str] = []
    for number in range(40):
        new = made(f"l{number}", content=bytes(40_000))
        try:
            acknowledged[(await submissions.submit(new)).id] = 40_000
        except StorageError as error:
            refused.append(error.message)
    assert refused
    assert all("full" in message for message in refused)
    assert len(acknowledged) > 5
    await limit(1_000_000)
    acknowledged[(await submissions.submit(made(content=bytes(3)))).id] = 3
    worker = Worker(submissions, grade, slots=4)
    running = asyncio.create_task(worker.run())
    await require_graded(submissions, acknowledged, within=30)
    worker.stop()
    await running
    counts = await submissions.counts()
    assert (counts.waiting, counts.leased) == (0, 0)


SUBMITTER = """
import asyncio, sys
from assay.domain.submission import NewSubmission
from assay.grading.submissions import Submissions

async def hand_in(submissions, column):
    for number in range(100_000):
        receipt = await submissions.submit(NewSubmission(
            course="c", task="t", learner=f"l{column}", content=bytes(number % 50 + 1)))
        print(receipt.id, number % 50 + 1, flush=True)

async def main(url):
    submissions = await Submissions.open(url)
    await asyncio.gather(*(hand_in(submissions, column) for column in range(8)))

import asyncio
asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.timeout(120)
async def test_a_server_that_is_killed_has_what_it_acknowledged(
    url: str, submissions: Submissions
) -> None:
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SUBMITTER, url, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    first = b"".join([await server.stdout.readline() for _ in range(60)])
    await asyncio.sleep(0.1)
    server.kill()
    printed = first + await server.stdout.read()
    await server.wait()
    lines = [line for line in printed.decode().splitlines(True) if line.endswith("\n")]
    expected = {line.split()[0]: int(line.split()[1]) for line in lines}
    assert len(expected) > 50
    worker = Worker(submissions, grade, slots=64)
    running = asyncio.create_task(worker.run())
    await require_graded(submissions, expected, within=60)
    worker.stop()
    await running
