"""A worker: what fails is tried again, what is broken for all is spared, and nobody is charged."""

import asyncio
import json
import time
from collections import Counter

import pytest
from tests.grading.queue.conftest import Open, made

from assay.domain.errors import InvalidEnvironment, SandboxGone
from assay.domain.submission import KeptResult, State, Work
from assay.grading import events as told
from assay.grading.queue import retry
from assay.grading.submissions import Submissions
from assay.grading.worker import Worker

pytestmark = pytest.mark.slow
FULL = KeptResult(result=b'{"grade":100}', verdict="passed", grade=100.0)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its time, or whose worker is gone, is looked for five times a second."""
    monkeypatch.setattr("assay.grading.worker._TEND_SECONDS", 0.2)


class Running:
    """A worker for the time of a block."""

    def __init__(self, submissions: Submissions, grade: object, slots: int = 4) -> None:
        self.events: list[told.Event] = []
        self.worker = Worker(
            submissions, grade, slots=slots, on_event=self.events.append, drain_seconds=0.2
        )  # type: ignore[arg-type]
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Running":
        self._task = asyncio.create_task(self.worker.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self.worker.stop()
        await self._task


async def right(work: Work) -> KeptResult:
    return FULL


async def test_a_submission_is_graded_within_milliseconds(submissions: Submissions) -> None:
    async with Running(submissions, right) as running:
        await asyncio.sleep(0.2)
        delays = []
        for number in range(20):
            receipt = await submissions.submit(made(f"l{number}"))
            started = time.monotonic()
            await submissions.wait_until_over(receipt.id, 5)
            delays.append(time.monotonic() - started)
        assert sorted(delays)[4] < 0.05
    graded = [each for each in running.events if isinstance(each, told.Graded)]
    assert len(graded) == 20
    assert all(0 <= each.waited_seconds < 5 for each in graded)


async def test_another_servers_worker_hears_of_it_at_once(url: str, open_submissions: Open) -> None:
    here, there = await open_submissions(url), await open_submissions(url)
    async with Running(there, right):
        await asyncio.sleep(0.5)
        delays = []
        for number in range(5):
            started = time.monotonic()
            receipt = await here.submit(made(f"l{number}"))
            await here.wait_until_over(receipt.id, 5)
            delays.append(time.monotonic() - started)
        # SQLite tells nobody: there one looks four times a second, and once for the end.
        assert min(delays) < (0.1 if url.startswith("postgresql") else 1.5)


async def test_what_the_machine_fails_at_is_tried_again(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_SECONDS", 0.1)
    runs: Counter[str] = Counter()

    async def at_the_third_time(work: Work) -> KeptResult:
        runs[work.submission.learner] += 1
        if runs[work.submission.learner] < 3:
            raise SandboxGone("it was killed") if work.submission.learner == "a" else OSError("?")
        return FULL

    async with Running(submissions, at_the_third_time) as running:
        receipts = [await submissions.submit(made(name)) for name in "ab"]
        for receipt in receipts:
            found = await submissions.wait_until_over(receipt.id, 20)
            assert (found.state, found.attempts) == (State.DONE, 3)
            assert await submissions.result(receipt.id) == FULL.result
    failed = [each for each in running.events if isinstance(each, told.GradingFailed)]
    assert {(each.attempts, each.reason) for each in failed} == {
        (1, "sandbox_gone: it was killed"), (2, "sandbox_gone: it was killed"),
        (1, "OSError: ?"), (2, "OSError: ?"),
    }  # fmt: skip


async def test_who_was_failed_again_and_again_gets_an_error_and_no_grade(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(retry, "FACTOR", 1.0)
    monkeypatch.setattr(retry, "MOST_ATTEMPTS", 2)

    async def never(work: Work) -> KeptResult:
        raise SandboxGone("the node is gone")

    async with Running(submissions, never) as running:
        receipt = await submissions.submit(made())
        found = await submissions.wait_until_over(receipt.id, 20)
        assert (found.state, found.attempts) == (State.FAILED, 2)
    result = await submissions.result(receipt.id)
    assert result is not None
    answer = json.loads(result)
    assert (answer["verdict"], answer["grade"]) == ("error", None)
    assert "not your fault" in answer["message"]
    assert "the node is gone" in answer["detail"]
    assert any(isinstance(each, told.GradingGivenUp) for each in running.events)


async def test_a_tasks_own_fault_is_not_repeated(submissions: Submissions) -> None:
    runs = 0

    async def wrongly(work: Work) -> KeptResult:
        nonlocal runs
        runs += 1
        raise InvalidEnvironment("task.toml: there is no environment cobol")

    async with Running(submissions, wrongly):
        receipt = await submissions.submit(made())
        assert (await submissions.wait_until_over(receipt.id, 10)).state is State.FAILED
    assert runs == 1


async def test_what_one_learner_breaks_slows_nobody_else_down(submissions: Submissions) -> None:
    async def broken_by_eve(work: Work) -> KeptResult:
        if work.submission.learner == "eve":
            raise ValueError("what no grader has thought of")
        return FULL

    for number in range(12):
        await submissions.submit(made("eve", key=str(number)))
    async with Running(submissions, broken_by_eve) as running:
        for _ in range(200):
            if len(running.events) >= 8:
                break
            await asyncio.sleep(0.01)
        started = time.monotonic()
        receipt = await submissions.submit(made("bob"))
        assert (await submissions.wait_until_over(receipt.id, 20)).state is State.DONE
        assert time.monotonic() - started < 12  # it was a pause of 16 s at least


async def test_what_is_broken_for_all_does_not_use_up_everybodys_attempts(
    submissions: Submissions,
) -> None:
    runs = 0

    async def broken(work: Work) -> KeptResult:
        nonlocal runs
        runs += 1
        raise SandboxGone("the engine is down")

    for number in range(50):
        await submissions.submit(made(f"l{number}"))
    async with Running(submissions, broken, slots=4):
        await asyncio.sleep(1.5)
    assert 4 <= runs <= 12
    counts = await submissions.counts()
    assert counts.waiting + counts.delayed == 50


async def test_what_is_cancelled_is_not_graded_to_its_end(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.grading.worker.BEAT_SECONDS", 0.1)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slowly(work: Work) -> KeptResult:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return FULL

    async with Running(submissions, slowly) as running:
        receipt = await submissions.submit(made())
        await begun.wait()
        await submissions.cancel(receipt.id)
        async with asyncio.timeout(20):
            await ended.wait()
    assert running.events == [told.ClaimLost(submission=receipt.id)]
    assert (await submissions.get(receipt.id)).state is State.CANCELLED


async def test_what_does_not_end_in_time_is_given_back(submissions: Submissions) -> None:
    begun = asyncio.Event()

    async def slowly(work: Work) -> KeptResult:
        begun.set()
        await asyncio.sleep(60)
        return FULL

    async with Running(submissions, slowly):
        receipt = await submissions.submit(made())
        await begun.wait()
    found = await submissions.get(receipt.id)
    assert (found.state, found.attempts) == (State.WAITING, 0)
    counts = await submissions.counts()
    assert (counts.waiting, counts.leased, counts.slots) == (1, 0, 0)


@pytest.mark.timeout(120)
async def test_one_run_of_another_course_is_not_behind_a_batch_of_five_thousand(
    submissions: Submissions,
) -> None:
    async def quickly(work: Work) -> KeptResult:
        await asyncio.sleep(0.05)
        return FULL

    many = [submissions.submit(made("a", course="a")) for _ in range(5000)]
    await asyncio.gather(*many)
    async with Running(submissions, quickly, slots=4):
        await asyncio.sleep(1)
        started = time.monotonic()
        receipt = await submissions.submit(made("b", course="b"))
        found = await submissions.wait_until_over(receipt.id, 10)
        assert found.state is State.DONE  # behind them it would have waited for a minute
        assert time.monotonic() - started < 10
        assert (await submissions.counts()).waiting > 4000
