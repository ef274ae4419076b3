"""Of learners who may hand in so often, none hands in more often: whoever takes it, and when."""

import asyncio

import pytest
from tests.grading.queue.conftest import Open, made

from assay.domain.errors import InvalidSubmission
from assay.domain.submission import KeptResult, NewSubmission, Receipt, State
from assay.grading.submissions import Submissions, error_result
from assay.storage.submissions.steps import Ending


def limited(learner: str = "ada", *, key: str | None = None, owner: str = "lms") -> NewSubmission:
    return made(learner, most_attempts=3, owner=owner, key=key)


async def end(submissions: Submissions, result: KeptResult, state: State = State.DONE) -> None:
    for work in await submissions.store.claim("w", 10, {}):
        ending = Ending(
            holder="w", submission=work.submission, result=result, seconds=1.0, state=state
        )
        assert await submissions.store.finish(ending)


async def test_of_two_servers_one_lets_the_last_attempt_in(
    url: str, open_submissions: Open
) -> None:
    """Over and over, at the same moment: neither sees what the other is about to keep."""
    servers = [await open_submissions(url), await open_submissions(url)]
    for nth in range(8):
        handed_in = [each.submit(limited(f"l{nth}")) for each in servers for _ in range(4)]
        answers = await asyncio.gather(*handed_in, return_exceptions=True)
        taken = [each for each in answers if isinstance(each, Receipt)]
        refused = [each for each in answers if isinstance(each, InvalidSubmission)]
        assert (len(taken), len(refused)) == (3, 5)
        assert "takes 3 submissions" in refused[0].message
        assert len(await servers[0].page(learner=f"l{nth}")) == 3


async def test_the_same_key_is_no_second_attempt(submissions: Submissions) -> None:
    both = await asyncio.gather(*(submissions.submit(limited(key="k")) for _ in range(8)))
    assert len({each.id for each in both}) == 1
    await asyncio.gather(*(submissions.submit(limited()) for _ in range(2)))
    assert (await submissions.submit(limited(key="k"))).id == both[0].id
    again = [submissions.submit(limited(key="other")) for _ in range(2)]
    answers = await asyncio.gather(*again, return_exceptions=True)
    assert all(isinstance(each, InvalidSubmission) for each in answers)


async def test_each_owner_has_learners_of_its_own(submissions: Submissions) -> None:
    for owner in ("one", "two"):
        for _ in range(3):
            await submissions.submit(limited(owner=owner))
        with pytest.raises(InvalidSubmission):
            await submissions.submit(limited(owner=owner))


async def test_what_nobody_could_grade_is_no_attempt(submissions: Submissions) -> None:
    for result, state in (
        (error_result("a disk is broken"), State.FAILED),
        (error_result("the task is wrong"), State.DONE),
    ):
        for _ in range(3):
            await submissions.submit(limited())
        await end(submissions, result, state)
    for _ in range(3):
        await submissions.submit(limited())
    await end(submissions, KeptResult(result=b"{}", verdict="failed", grade=0.0))
    with pytest.raises(InvalidSubmission):
        await submissions.submit(limited())


async def test_who_cancels_what_is_being_graded_has_had_that_attempt(
    submissions: Submissions,
) -> None:
    for _ in range(3):
        await submissions.cancel((await submissions.submit(limited())).id)
    receipts = [await submissions.submit(limited()) for _ in range(3)]
    assert len(await submissions.store.claim("w", 3, {})) == 3
    for receipt in receipts:
        assert await submissions.cancel(receipt.id)
    with pytest.raises(InvalidSubmission):
        await submissions.submit(limited())


async def test_of_a_period_only_what_was_handed_in_within_it_counts(
    submissions: Submissions,
) -> None:
    short = 1.0 / 3600  # of one second, in hours
    news = [made("ada", most_attempts=2, attempts_hours=short) for _ in range(3)]
    receipts = [await submissions.submit(new) for new in news[:2]]
    with pytest.raises(InvalidSubmission, match=r"2 submissions in .* hours, and has 2"):
        await submissions.submit(news[2])
    await asyncio.sleep(1.1)
    assert (await submissions.submit(news[2])).id not in {each.id for each in receipts}
