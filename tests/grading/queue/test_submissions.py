"""What is handed in is kept, found, and handed out in turn; over both databases."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from tests.grading.queue.conftest import Open, made
from tests.storage.postgres import Postgres

from assay.domain.errors import Busy, InvalidInput, NotFound, StorageError
from assay.domain.line import Timing
from assay.domain.submission import (
    MOST_CONTENT_BYTES,
    KeptResult,
    Priority,
    State,
    Submission,
    Work,
)
from assay.grading.submissions import Submissions
from assay.storage.submissions import together
from assay.storage.submissions.steps import Ending


async def claim(submissions: Submissions, count: int = 1, holder: str = "w") -> list[Work]:
    return await submissions.store.claim(holder, count, {})


async def finish(
    submissions: Submissions, holder: str, submission: Submission, result: bytes, seconds: float
) -> bool:
    kept = KeptResult(result=result)
    ending = Ending(holder=holder, submission=submission, result=kept, seconds=seconds)
    return await submissions.store.finish(ending)


async def test_what_is_handed_in_is_there_with_all_that_was_said(submissions: Submissions) -> None:
    receipt = await submissions.submit(
        made(content=b"\0files", owner="token", environment="c", task_hash="h", seed=-(2**63),
             key="k1", priority=Priority.REGRADE)
    )  # fmt: skip
    assert receipt.new
    found = await submissions.get(receipt.id)
    assert (found.owner, found.key, found.environment, found.task_hash, found.seed) == (
        "token", "k1", "c", "h", -(2**63),
    )  # fmt: skip
    assert (found.state, found.priority, found.attempts) == (State.WAITING, Priority.REGRADE, 0)
    assert await submissions.content(receipt.id) == b"\0files"
    assert await submissions.result(receipt.id) is None
    with pytest.raises(NotFound):
        await submissions.get("nothing")
    with pytest.raises(NotFound):
        await submissions.content("nothing")


async def test_the_same_key_of_the_same_owner_is_the_same_submission(
    submissions: Submissions,
) -> None:
    receipts = await asyncio.gather(
        *(submissions.submit(made(owner="a", key="k")) for _ in range(5))
    )
    receipts.append(await submissions.submit(made(owner="a", key="k")))
    assert len({each.id for each in receipts}) == 1
    assert [each.new for each in receipts].count(True) == 1
    other = await submissions.submit(made(owner="b", key="k"))
    assert other.new
    assert (await submissions.counts()).waiting == 2
    for _ in range(2):  # in one transaction, and in the next one
        told = await asyncio.gather(
            submissions.submit(made(owner="c", key="k")),
            submissions.submit(made("eve", owner="c", key="k")),
            return_exceptions=True,
        )
        assert isinstance(told[1], InvalidInput)
        assert not isinstance(told[0], BaseException)


async def test_two_servers_with_one_key_keep_one_submission(
    url: str, open_submissions: Open
) -> None:
    both = [await open_submissions(url) for _ in range(2)]
    for number in range(20):
        receipts = await asyncio.gather(
            *(each.submit(made(owner="a", key=f"k{number}")) for each in both)
        )
        assert len({each.id for each in receipts}) == 1
        assert sum(each.new for each in receipts) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"course": ""},
        {"learner": "a\0b"},
        {"task": "t" * 201},
        {"key": "\ud800"},
        {"seed": 2**63},
        {"content": bytes(MOST_CONTENT_BYTES + 1)},
    ],
    ids=lambda each: str(next(iter(each))),
)
async def test_what_cannot_be_kept_is_refused(
    submissions: Submissions, wrong: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        await submissions.submit(made(**{"learner": "ada", **wrong}))  # type: ignore[arg-type]


async def test_too_much_at_once_is_refused_and_not_kept_in_memory(
    submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "MOST_BYTES_WAITING", 1000)
    some = [submissions.submit(made(f"l{n}", content=bytes(100))) for n in range(12)]
    told = await asyncio.gather(*some, return_exceptions=True)
    assert [type(each) for each in told].count(Busy) == 2
    await submissions.submit(made(content=bytes(900)))


async def test_learners_take_turns_and_the_live_go_first(submissions: Submissions) -> None:
    await submissions.submit(made("again", priority=Priority.REGRADE))
    for _ in range(3):
        await submissions.submit(made("many"))
    await submissions.submit(made("one"))
    order = [(await claim(submissions))[0].submission.learner for _ in range(5)]
    assert order == ["many", "one", "many", "many", "again"]
    assert await claim(submissions) == []


async def test_courses_share_by_weight_and_by_what_their_gradings_take(
    submissions: Submissions,
) -> None:
    await submissions.set_weight("heavy", 3.0)
    for course in ("heavy", "light", "slow"):
        for number in range(60):
            await submissions.store.add(made(f"l{number % 7}", course=course))
    timings = {
        "heavy": Timing(gradings=2, seconds=2.0),
        "light": Timing(gradings=1, seconds=1.0),
        "slow": Timing(gradings=1, seconds=4.0),
    }
    await submissions.store.claim("w", 1, timings)
    taken = [each for _ in range(12) for each in await claim(submissions, 4)]
    got = Counter(each.submission.course for each in taken)
    assert got["heavy"] / got["light"] == pytest.approx(3, abs=0.5)
    assert got["light"] / got["slow"] == pytest.approx(4, abs=1.5)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e9])
async def test_a_weight_that_makes_no_sense_is_refused(
    submissions: Submissions, weight: float
) -> None:
    with pytest.raises(InvalidInput):
        await submissions.set_weight("algebra", weight)


async def test_only_the_first_result_counts(submissions: Submissions) -> None:
    receipt = await submissions.submit(made())
    (work,) = await claim(submissions)
    assert (work.content, work.submission.attempts, work.submission.claim) == (b"ada", 1, 1)
    assert not await finish(submissions, "another", work.submission, b"{}", 1.0)
    assert await finish(submissions, "w", work.submission, b'{"grade":1}', 1.0)
    # The same again, as after an answer that was lost; and what comes too late.
    assert await finish(submissions, "w", work.submission, b'{"grade":1}', 1.0)
    assert not await finish(submissions, "another", work.submission, b"{}", 1.0)
    found = await submissions.get(receipt.id)
    assert (found.state, found.seconds) == (State.DONE, 1.0)
    assert await submissions.result(receipt.id) == b'{"grade":1}'
    assert not await submissions.cancel(receipt.id)


async def test_a_worker_whose_lease_was_given_to_another_is_refused(
    submissions: Submissions,
) -> None:
    receipt = await submissions.submit(made())
    (first,) = await claim(submissions, holder="slow")
    await submissions.store.recover()
    await submissions.store.release("slow", [first.submission])  # nothing to give back any more
    assert (await submissions.counts()).delayed == 1
    await asyncio.sleep(1.3)
    await submissions.store.tend()
    (second,) = await claim(submissions, holder="quick")
    assert (second.submission.attempts, second.submission.claim) == (2, 2)
    assert await submissions.store.beat("slow", 1, {receipt.id: 1}) == [receipt.id]
    assert not await finish(submissions, "slow", first.submission, b"slow", 9.0)
    assert not await submissions.store.delay("slow", first.submission, 1.0)
    assert await finish(submissions, "quick", second.submission, b"quick", 1.0)
    assert await submissions.result(receipt.id) == b"quick"


async def test_what_is_given_back_is_next_and_was_no_attempt(submissions: Submissions) -> None:
    first = await submissions.submit(made("a"))
    await submissions.submit(made("b"))
    (work,) = await claim(submissions)
    assert work.submission.id == first.id
    assert await submissions.store.release("w", [work.submission]) == 1
    (again,) = await claim(submissions)
    assert (again.submission.id, again.submission.attempts, again.submission.claim) == (
        first.id, 1, 2,
    )  # fmt: skip


async def test_cancelling_ends_what_waits_and_what_is_graded(submissions: Submissions) -> None:
    waiting, graded = await submissions.submit(made("w")), await submissions.submit(made("g"))
    (work,) = await claim(submissions)
    graded, waiting = (waiting, graded) if work.submission.id == waiting.id else (graded, waiting)
    assert await submissions.cancel(graded.id)
    assert await submissions.cancel(waiting.id)
    assert not await submissions.cancel(waiting.id)
    assert await submissions.store.beat("w", 1, {graded.id: 1}) == [graded.id]
    assert not await finish(submissions, "w", work.submission, b"{}", 1.0)
    assert await claim(submissions) == []
    counts = await submissions.counts()
    assert (counts.waiting, counts.leased) == (0, 0)
    with pytest.raises(NotFound):
        await submissions.cancel("nothing")


async def test_pages_go_back_from_the_newest(submissions: Submissions) -> None:
    ids = []
    for number in range(7):
        receipt = await submissions.submit(made("ada" if number % 2 else "bob", owner="t"))
        ids.append(receipt.id)
        await asyncio.sleep(0.002)  # ids of the same millisecond have no order
    newest = list(reversed(ids))
    first = await submissions.page(course="algebra", most=4)
    assert [each.id for each in first] == newest[:4]
    rest = await submissions.page(course="algebra", before=first[-1].id, most=4)
    assert [each.id for each in rest] == newest[4:]
    mine = await submissions.page(learner="ada", owner="t", task="sum")
    assert [each.id for each in mine] == newest[1::2]
    assert await submissions.page(course="algebra", owner="another") == []


async def test_the_outlook_says_who_is_ahead_and_what_is_unknown(submissions: Submissions) -> None:
    for _ in range(4):
        last = await submissions.submit(made("many"))
    one = await submissions.submit(made("one"))
    other = await submissions.submit(made("x", course="logic"))
    found = await submissions.outlook(last.id)
    assert found is not None
    assert (found.ahead, found.slots, found.wait_seconds) == (4 + 1, 0, None)
    ahead_of_one = await submissions.outlook(one.id)
    assert ahead_of_one is not None
    assert ahead_of_one.ahead == 1 + 1
    await submissions.store.beat("w", 2, {})
    timings = {"algebra": Timing(gradings=1, seconds=3.0), "logic": Timing(gradings=1, seconds=3.0)}
    (work,) = await submissions.store.claim("w", 1, timings)
    found = await submissions.outlook(last.id)
    assert found is not None
    assert found.wait_seconds == pytest.approx((found.ahead * 3.0 + 1.5) / 2)
    assert found.grading_seconds == 3.0
    assert await submissions.outlook(work.submission.id) is None
    await submissions.cancel(other.id)
    with pytest.raises(NotFound):
        await submissions.outlook("nothing")


async def test_what_is_over_is_removed_when_it_is_old(submissions: Submissions) -> None:
    receipts = [await submissions.submit(made(f"l{n}")) for n in range(3)]
    (work,) = await claim(submissions)
    await finish(submissions, "w", work.submission, b"{}", 1.0)
    assert await submissions.purge(submissions.store.clock() - 60) == 0
    assert await submissions.purge(submissions.store.clock() + 60) == 1
    assert await submissions.result(work.submission.id) is None
    left = [each for each in receipts if each.id != work.submission.id]
    assert {each.id for each in await submissions.page()} == {each.id for each in left}


async def test_all_of_it_survives_the_end_of_the_server(
    url: str, submissions: Submissions, open_submissions: Open
) -> None:
    receipts = [await submissions.submit(made(f"l{n}")) for n in range(5)]
    await submissions.set_weight("algebra", 2.0)
    (work,) = await claim(submissions)
    await submissions.aclose()
    again = await open_submissions(url)
    (line,) = await again.store.lines()
    assert (line.waiting, line.weight) == (4, 2.0)
    assert (await again.get(work.submission.id)).state is State.LEASED
    assert {each.id for each in await again.page()} == {each.id for each in receipts}


async def test_who_waits_for_the_end_is_told_at_once(submissions: Submissions) -> None:
    receipt = await submissions.submit(made())
    waiting = asyncio.create_task(submissions.wait_until_over(receipt.id, 30))
    (work,) = await claim(submissions)
    await finish(submissions, "w", work.submission, b"{}", 1.0)
    async with asyncio.timeout(0.9):  # sooner than by looking
        assert (await waiting).state is State.DONE
    other = await submissions.submit(made())
    assert (await submissions.wait_until_over(other.id, 0.05)).state is State.WAITING


async def test_many_who_hand_in_share_transactions(
    submissions: Submissions, events: list[object]
) -> None:
    await submissions.submit(made())
    events.clear()
    await asyncio.gather(*(submissions.submit(made(f"l{n}")) for n in range(500)))
    assert len(events) <= 4
    assert (await submissions.counts()).waiting == 501


def test_with_sqlite_they_are_in_a_file_that_survives_a_loss_of_power(tmp_path: Path) -> None:
    async def look() -> tuple[object, ...]:
        opened = await Submissions.open(f"sqlite:///{tmp_path}/state/server.db")

        def ask(cursor: object) -> object:
            cursor.execute("PRAGMA synchronous")  # type: ignore[attr-defined]
            return cursor.fetchall()[0][0]  # type: ignore[attr-defined]

        answers = [await opened.store._write("ask", ask), await opened.store._ask("ask", ask)]
        with pytest.raises(StorageError):
            await opened.store._ask("write", lambda c: c.execute("DELETE FROM line"))
        await opened.aclose()
        return tuple(answers)

    assert asyncio.run(look())[0] == 2  # FULL
    assert (tmp_path / "state" / "server-submissions.db").exists()


async def test_postgresql_is_told_to_wait_for_its_disk(
    postgres: Postgres, postgres_url: str, open_submissions: Open
) -> None:
    opened = await open_submissions(postgres_url)

    def ask(cursor: object) -> object:
        cursor.execute("SHOW synchronous_commit")  # type: ignore[attr-defined]
        return cursor.fetchall()[0][0]  # type: ignore[attr-defined]

    assert await opened.store._write("ask", ask) == "on"
