"""Where one submission counts for the next, servers let one of a learner in at a time."""

import asyncio

import pytest
from tests.grading.queue.conftest import Open, made

from assay.domain.errors import Conflict, InvalidSubmission
from assay.domain.submission import KeptResult, NewSubmission, Receipt
from assay.grading.submissions import Submissions
from assay.storage.submissions.steps import Ending


def alone(learner: str = "ada", **more: object) -> NewSubmission:
    return made(learner, alone=True, **{"owner": "lms", **more})


async def end_all(submissions: Submissions) -> None:
    result = KeptResult(result=b"{}", verdict="failed", grade=0.0)
    for work in await submissions.store.claim("w", 10, {}):
        ending = Ending(holder="w", submission=work.submission, result=result, seconds=1.0)
        assert await submissions.store.finish(ending)


async def test_of_two_servers_one_lets_one_in(url: str, open_submissions: Open) -> None:
    """Over and over, at the same moment: neither sees what the other is about to keep."""
    servers = [await open_submissions(url), await open_submissions(url)]
    for nth in range(8):
        handed_in = [each.submit(alone(f"l{nth}")) for each in servers for _ in range(3)]
        answers = await asyncio.gather(*handed_in, return_exceptions=True)
        refused = [each for each in answers if isinstance(each, Conflict)]
        assert (len(refused), sum(isinstance(each, Receipt) for each in answers)) == (5, 1)
        assert "hand in when it is over" in refused[0].message
        assert len(await servers[0].page(learner=f"l{nth}")) == 1


async def test_the_next_one_is_let_in_when_it_is_over_or_was_cancelled(
    url: str, open_submissions: Open
) -> None:
    one, other = await open_submissions(url), await open_submissions(url)
    await one.submit(alone())
    with pytest.raises(Conflict):
        await other.submit(alone())
    await end_all(one)
    second = await other.submit(alone())
    assert len(await one.store.claim("w", 1, {})) == 1
    with pytest.raises(Conflict):
        await one.submit(alone())
    assert await other.cancel(second.id)
    await one.submit(alone())


async def test_the_same_key_is_answered_and_another_learner_or_task_waits_for_nobody(
    submissions: Submissions,
) -> None:
    first = await submissions.submit(alone(key="k"))
    assert await submissions.submit(alone(key="k")) == Receipt(id=first.id, new=False)
    for other in (alone("bob"), alone(task="product"), alone(owner="another"), alone(course="c")):
        assert (await submissions.submit(other)).new
    # Of a task without a state, any number.
    assert (await submissions.submit(made(owner="lms"))).new


async def test_what_had_to_wait_was_no_attempt(submissions: Submissions) -> None:
    limited = alone(most_attempts=2)
    await submissions.submit(limited)
    for _ in range(3):
        with pytest.raises(Conflict):
            await submissions.submit(limited)
    await end_all(submissions)
    await submissions.submit(limited)
    await end_all(submissions)
    with pytest.raises(InvalidSubmission, match="takes 2 submissions"):
        await submissions.submit(limited)
