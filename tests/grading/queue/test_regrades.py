"""What was graded is graded again, and counts only when somebody says so; over both databases."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.grading.queue.conftest import Spawn, made

from assay.domain.campaign import CampaignState
from assay.domain.errors import Conflict, InvalidInput, NotFound
from assay.domain.submission import KeptResult, Priority, State
from assay.grading.courses import Courses
from assay.grading.regrading import regrades as regrading
from assay.grading.regrading.regrades import Applying, Regrades, applied_of
from assay.grading.regrading.report import Change, Difference
from assay.grading.regrading.wish import Which, Wish
from assay.grading.results import PartResult, Result, Verdict, kept
from assay.grading.submissions import Submissions, error_result
from assay.grading.versions import Versions
from assay.grading.webhooks.registrations import Registrations
from assay.storage.submissions import campaigns
from assay.storage.submissions.steps import Ending

TASK = 'title = "Sum"\nenvironment = "python"\nfiles = ["sum.py"]\n[[parts]]\nid = "all"\n'
TASK += 'kind = "cases"\ncases = [{ name = "one", stdin = "1", expected = "1" }]\n'
WISH = Wish(course="algebra", task="sum")


@pytest.fixture
async def courses(tmp_path: Path) -> Courses:
    folder = tmp_path / "algebra"
    (folder / "sum").mkdir(parents=True)
    (folder / "course.toml").write_text('title = "Algebra"')
    (folder / "sum" / "task.toml").write_text(TASK)
    found = Courses([folder], Versions(tmp_path / "versions"))
    await found.load()
    return found


@pytest.fixture
def regrades(courses: Courses, submissions: Submissions) -> Regrades:
    return Regrades(courses, submissions)


def result(grade: float | None) -> KeptResult:
    verdict = Verdict.ERROR if grade is None else Verdict.PARTIAL
    part = PartResult(id="all", verdict=verdict, score=(grade or 0) / 100)
    return kept(Result(verdict=verdict, grade=grade, parts=(part,)))


async def graded(submissions: Submissions, grade: float | None, learner: str, **more: Any) -> str:
    """A submission that is over, with this grade."""
    await asyncio.sleep(0.002)  # those of one millisecond are in no order
    receipt = await submissions.submit(made(learner, task_hash="sha256:then", seed=7, **more))
    (work,) = await submissions.store.claim("w", 1, {})
    assert work.submission.id == receipt.id
    await finish(submissions, work.submission, grade)
    return receipt.id


async def finish(submissions: Submissions, submission: Any, grade: float | None) -> None:
    failed = grade is None
    ending = Ending(
        holder="w", submission=submission, seconds=1.0,
        result=error_result("a disk is broken") if failed else result(grade),
        state=State.FAILED if failed else State.DONE,
    )  # fmt: skip
    assert await submissions.store.finish(ending)


async def grade_all(submissions: Submissions, grades: dict[str, float | None]) -> None:
    """Grade what waits, by its learner."""
    while works := await submissions.store.claim("w", 10, {}):
        for work in works:
            await finish(submissions, work.submission, grades[work.submission.learner])


async def report(regrades: Regrades, name: str) -> dict[str, Difference]:
    found = regrades.report(await regrades.get(name))
    return {each.learner: each async for each in found}


async def grades_of(submissions: Submissions, names: Sequence[str]) -> list[float | None]:
    found = [await submissions.result(name) for name in names]
    return [msgspec.json.decode(each, type=Result).grade for each in found if each is not None]


async def test_proposals_change_nothing_until_they_are_applied_all_at_once(
    regrades: Regrades, submissions: Submissions
) -> None:
    before = {"ada": 50.0, "bob": 80.0, "cyd": 70.0, "dan": None, "eve": 9.0}
    after = {"ada": 100.0, "bob": 60.0, "cyd": 70.0, "dan": 30.0, "eve": None}
    names = [await graded(submissions, grade, learner) for learner, grade in before.items()]
    started = await regrades.start(WISH, owner="teacher")
    assert started.new
    progress = await regrades.progress(started.id)
    assert (progress.total, progress.waiting, progress.is_finished) == (5, 5, False)
    (work,) = await submissions.store.claim("w", 1, {})
    assert (work.content, work.submission.seed, work.submission.priority) == (
        work.submission.learner.encode(), 7, Priority.REGRADE,
    )  # fmt: skip
    assert work.submission.task_hash.startswith("sha256:")
    assert work.submission.task_hash != "sha256:then"
    with pytest.raises(Conflict, match="not graded yet"):
        await regrades.apply(started.id, Applying(), by="teacher")
    await finish(submissions, work.submission, after[work.submission.learner])
    await grade_all(submissions, after)
    found = await report(regrades, started.id)
    assert {learner: each.change for learner, each in found.items()} == {
        "ada": Change.UP, "bob": Change.DOWN, "cyd": Change.SAME, "dan": Change.UP,
        "eve": Change.FAILED,
    }  # fmt: skip
    assert found["eve"].reason == "a disk is broken"
    assert [part.id for part in found["bob"].parts] == ["all"]
    assert await grades_of(submissions, names) == list(before.values())
    assert len(await submissions.page()) == 5

    campaign = await regrades.apply(started.id, Applying(), by="head")
    assert (campaign.state, campaign.ended_by) == (CampaignState.APPLIED, "head")
    assert await grades_of(submissions, names) == [100.0, 60.0, 70.0, 30.0, 9.0]
    assert (await submissions.get(names[3])).state is State.DONE
    (former,) = await regrades.history(names[1])
    assert (former.replaced_by, former.campaign) == ("head", started.id)
    assert json.loads(former.result)["grade"] == 80.0
    assert await regrades.history(names[4]) == []
    # Once more is the same, and the report still says what was changed.
    again = await regrades.apply(started.id, Applying(), by="other")
    assert (again.ended_by, again.outcome) == ("head", campaign.outcome)
    assert (await report(regrades, started.id))["bob"].old_grade == 80.0
    assert len(await regrades.history(names[1])) == 1
    with pytest.raises(Conflict, match="applied"):
        await regrades.discard(started.id, by="teacher")


async def test_others_hear_of_what_counts_and_never_of_what_is_proposed(
    regrades: Regrades, submissions: Submissions
) -> None:
    hooks = Registrations(store=submissions.store, allowed=("127.0.0.0/8",))
    hook = await hooks.add("algebra", "http://127.0.0.1:9/", ["submission.graded"])

    async def told() -> list[str]:
        return [
            each.submission for each in await hooks.log("algebra", hook.id, before=None, most=9)
        ]

    name = await graded(submissions, 50.0, "ada")
    started = await regrades.start(WISH)
    await grade_all(submissions, {"ada": 60.0})
    results = [each async for each in submissions.store.results.submissions("algebra")]
    assert [each.id for each in results] == [name]
    assert await told() == [name]
    await regrades.apply(started.id, Applying(), by="")
    assert await told() == [name, name]


async def test_no_grade_gets_lower_if_that_is_wished(
    regrades: Regrades, submissions: Submissions
) -> None:
    names = [await graded(submissions, 50.0, "ada"), await graded(submissions, 50.0, "bob")]
    started = await regrades.start(WISH)
    await grade_all(submissions, {"ada": 60.0, "bob": 40.0})
    applied = applied_of(await regrades.apply(started.id, Applying(only_up=True), by=""))
    assert applied is not None
    assert (applied.applied, applied.kept) == (1, 1)
    assert await grades_of(submissions, names) == [60.0, 50.0]


async def test_of_two_campaigns_the_second_does_not_overwrite_the_first(
    regrades: Regrades, submissions: Submissions
) -> None:
    names = [await graded(submissions, 50.0, "ada"), await graded(submissions, 50.0, "bob")]
    first = await regrades.start(Wish(course="algebra", learner="ada"))
    second = await regrades.start(WISH)
    await grade_all(submissions, {"ada": 60.0, "bob": 70.0})
    await regrades.apply(first.id, Applying(), by="")
    assert (await report(regrades, second.id))["ada"].conflict
    with pytest.raises(Conflict, match=names[0]):
        await regrades.apply(second.id, Applying(), by="")
    assert await grades_of(submissions, names) == [60.0, 50.0]
    applied = applied_of(await regrades.apply(second.id, Applying(skip_changed=True), by=""))
    assert applied is not None
    assert (applied.applied, applied.changed) == (1, 1)
    assert await grades_of(submissions, names) == [60.0, 70.0]


async def test_two_who_apply_at_the_same_moment_apply_once(
    regrades: Regrades, submissions: Submissions
) -> None:
    name = await graded(submissions, 50.0, "ada")
    started = await regrades.start(WISH)
    await grade_all(submissions, {"ada": 60.0})
    both = await asyncio.gather(
        *(regrades.apply(started.id, Applying(), by=who) for who in ("one", "two"))
    )
    assert len({each.ended_by for each in both}) == 1
    assert len(await regrades.history(name)) == 1
    assert (await submissions.get(name)).revision == 1


async def test_what_is_discarded_waits_no_longer_and_is_never_applied(
    regrades: Regrades, submissions: Submissions
) -> None:
    name = await graded(submissions, 50.0, "ada")
    await graded(submissions, 50.0, "bob")
    started = await regrades.start(WISH)
    (work,) = await submissions.store.claim("w", 1, {})
    await regrades.discard(started.id, by="teacher")
    ending = Ending(holder="w", submission=work.submission, result=result(1.0), seconds=1.0)
    assert not await submissions.store.finish(ending)
    counts = await submissions.counts()
    assert (counts.waiting, counts.leased) == (0, 0)
    assert await submissions.store.claim("w", 10, {}) == []
    assert (await regrades.discard(started.id, by="x")).ended_by == "teacher"
    with pytest.raises(Conflict, match="discarded"):
        await regrades.apply(started.id, Applying(), by="")
    assert await grades_of(submissions, [name]) == [50.0]
    # Its line is whole: what comes now is handed out.
    later = await regrades.start(Wish(course="algebra", learner="bob"))
    assert len(await submissions.store.claim("w", 10, {})) == 1
    with pytest.raises(NotFound):
        await regrades.get(later.id[::-1])


async def test_those_that_are_finished_can_be_applied_and_end_the_campaign(
    regrades: Regrades, submissions: Submissions
) -> None:
    names = [await graded(submissions, 50.0, learner) for learner in ("ada", "bob")]
    started = await regrades.start(WISH)
    (work,) = await submissions.store.claim("w", 1, {})
    await finish(submissions, work.submission, 60.0)
    applied = applied_of(await regrades.apply(started.id, Applying(unfinished=True), by=""))
    assert applied is not None
    assert (applied.applied, applied.unfinished) == (1, 1)
    assert sorted(filter(None, await grades_of(submissions, names))) == [50.0, 60.0]
    assert (await submissions.counts()).waiting == 0


async def test_the_live_go_first_and_are_no_part_of_it(
    regrades: Regrades, submissions: Submissions
) -> None:
    await graded(submissions, 50.0, "ada")
    started = await regrades.start(WISH)
    live = await submissions.submit(made("ada"))
    (work,) = await submissions.store.claim("w", 1, {})
    assert work.submission.id == live.id
    await finish(submissions, work.submission, 20.0)
    await grade_all(submissions, {"ada": 90.0})
    await regrades.apply(started.id, Applying(), by="")
    assert await grades_of(submissions, [live.id]) == [20.0]
    assert (await submissions.get(live.id)).revision == 0


@pytest.mark.parametrize("at_once", [1, 1000])
async def test_filters_choose(
    regrades: Regrades, submissions: Submissions, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """The database leaves out what it can, and what is left comes page by page."""
    monkeypatch.setattr(campaigns, "CANDIDATES_AT_ONCE", at_once)
    monkeypatch.setattr(regrading, "MOST_NAMED", at_once)
    ada = [await graded(submissions, grade, "ada") for grade in (80.0, 40.0)]
    bob = await graded(submissions, None, "bob")
    await submissions.submit(made("waits"))
    for wish, expected in (
        (WISH, [*ada, bob]),
        (Wish(course="algebra", which=Which.BEST), [ada[0], bob]),
        (Wish(course="algebra", which=Which.LAST), [ada[1], bob]),
        (Wish(course="algebra", below=50.0), [ada[1], bob]),
        (Wish(course="algebra", verdicts=(Verdict.ERROR,)), [bob]),
        (Wish(course="algebra", learner="ada", which=Which.BEST, below=90), [ada[0]]),
        (Wish(course="algebra", submissions=(ada[1],)), [ada[1]]),
        (Wish(course="algebra", submissions=(bob, ada[0], "none")), [ada[0], bob]),
        (Wish(course="algebra", submissions=(bob, *ada), which=Which.BEST), [ada[0], bob]),
        (Wish(course="algebra", verdicts=(Verdict.PARTIAL, Verdict.PASSED)), ada),
        (Wish(course="algebra", since=(await submissions.get(ada[1])).submitted_at), [ada[1], bob]),
        (Wish(course="algebra", until=(await submissions.get(ada[1])).submitted_at), [ada[0]]),
    ):
        started = await regrades.start(wish)
        found = [each.submission async for each in regrades.report(await regrades.get(started.id))]
        assert found == expected, wish
        await regrades.discard(started.id, by="")


async def test_no_more_is_collected_than_a_campaign_may_have(
    regrades: Regrades, submissions: Submissions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaigns, "CANDIDATES_AT_ONCE", 2)
    monkeypatch.setattr(regrading, "MOST_IN_CAMPAIGN", 3)
    for number in range(8):
        await graded(submissions, 50.0, f"l{number}")
    pages = 0
    asked = submissions.store.campaigns.candidates

    def counted(*wanted: Any, **after: Any) -> Any:
        nonlocal pages
        pages += 1
        return asked(*wanted, **after)

    monkeypatch.setattr(submissions.store.campaigns, "candidates", counted)
    with pytest.raises(InvalidInput, match="more than 3 submissions fit"):
        await regrades.start(WISH)
    assert pages == 2
    assert (await regrades.start(Wish(course="algebra", learner="l1"))).new


NONSENSE: list[tuple[Wish, type[Exception]]] = [
    (Wish(course="none"), NotFound),
    (Wish(course="algebra", task="none"), NotFound),
    (Wish(course="algebra", learner="nobody"), InvalidInput),
    (Wish(course="algebra", version="sha256:" + "0" * 64), InvalidInput),
    (Wish(course="algebra", task="sum", version="sha256:" + "0" * 64), InvalidInput),
    (Wish(course="algebra", below=float("nan")), InvalidInput),
    (Wish(course="algebra", submissions=("a\0",)), InvalidInput),
]


async def test_a_campaign_of_nothing_is_refused(
    regrades: Regrades, submissions: Submissions
) -> None:
    await graded(submissions, 50.0, "ada")
    for wish, error in NONSENSE:
        with pytest.raises(error):
            await regrades.start(wish)
    assert await regrades.page() == []


async def test_the_same_key_is_the_same_campaign(
    regrades: Regrades, submissions: Submissions
) -> None:
    await graded(submissions, 50.0, "ada")
    both = [await regrades.start(WISH, owner="t", key="k") for _ in range(2)]
    assert (both[0].id, [each.new for each in both]) == (both[1].id, [True, False])
    assert (await submissions.counts()).waiting == 1
    with pytest.raises(InvalidInput, match="another campaign"):
        await regrades.start(Wish(course="algebra"), owner="t", key="k")


async def test_what_an_open_campaign_needs_is_not_purged(
    regrades: Regrades, submissions: Submissions
) -> None:
    await graded(submissions, 50.0, "ada")
    started = await regrades.start(WISH)
    assert await submissions.purge(1e12) == 0
    await grade_all(submissions, {"ada": 60.0})
    await regrades.apply(started.id, Applying(), by="")
    assert await submissions.purge(1e12) == 2
    assert (await regrades.progress(started.id)).total == 0


async def test_a_campaign_goes_on_after_its_worker_was_killed(
    regrades: Regrades, submissions: Submissions, spawn_worker: Spawn
) -> None:
    """Each is graded, and counted once, however often a worker is killed in the middle."""
    for number in range(12):
        await graded(submissions, 50.0, f"l{number}")
    started = await regrades.start(WISH)
    for _ in range(2):
        process = await spawn_worker(seconds=0.2, slots=3)
        await asyncio.sleep(0.3)
        process.kill()
        await process.wait()
        await submissions.store.recover()
    await spawn_worker(seconds=0.01)
    for _ in range(600):
        if (await regrades.progress(started.id)).is_finished:
            break
        await asyncio.sleep(0.1)
    progress = await regrades.progress(started.id)
    assert (progress.total, progress.done) == (12, 12)
