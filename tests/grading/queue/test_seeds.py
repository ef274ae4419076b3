"""A learner's random numbers are the same on all servers of a database, and nobody's to foresee."""

from pathlib import Path
from typing import Any

import pytest
from tests.grading.queue.conftest import Open

from assay.domain.errors import Conflict
from assay.domain.submission import KeptResult
from assay.grading.courses import Courses
from assay.grading.desk import Desk, HandedIn
from assay.grading.earlier import Whose
from assay.grading.joint import Seats
from assay.grading.submissions import Submissions
from assay.grading.versions import Versions
from assay.storage.submissions.steps import Ending

TASK = """
name: Sum
environment_id: default
environment_type: docker
input_random: 2
problems: {sum: {type: code, language: python}}
"""
ADA = Whose(owner="", course="algebra", task="sum", learner="ada")
ADAS = HandedIn(course="algebra", task="sum", learner="ada", answers={"sum": "1"})


async def desk_of(submissions: Submissions, folder: Path) -> Desk:
    (folder / "algebra/sum").mkdir(parents=True, exist_ok=True)
    (folder / "algebra/course.yaml").write_text("name: Algebra\naccessible: true\n")
    (folder / "algebra/sum/task.yaml").write_text(TASK)
    (folder / "algebra/sum/run").write_text("feedback-result success; feedback-state seen")
    courses = Courses([folder / "algebra"], Versions(folder / "versions"))
    await courses.load()
    assert not courses.get("algebra").broken
    places: Any = None
    return Desk(courses, submissions, places, parallel=1, seats=Seats(1))


async def seed_on(submissions: Submissions, folder: Path) -> int | None:
    desk = await desk_of(submissions, folder)
    return await desk.seed(desk.courses.task("algebra", "sum"), ADA)


async def test_a_seed_is_the_same_on_each_server_and_after_a_restart_and_in_no_other_database(
    url: str, tmp_path: Path, open_submissions: Open
) -> None:
    one = await open_submissions(url)
    seed = await seed_on(one, tmp_path)
    assert seed == await seed_on(await open_submissions(url), tmp_path)
    await one.aclose()
    assert seed == await seed_on(await open_submissions(url), tmp_path)
    other = await open_submissions(f"sqlite:///{tmp_path}/other/a.db")
    assert seed != await seed_on(other, tmp_path)


async def test_of_a_task_with_a_state_two_servers_take_one_submission(
    url: str, tmp_path: Path, open_submissions: Open
) -> None:
    one, other = [await desk_of(await open_submissions(url), tmp_path) for _ in range(2)]
    assert one.courses.task("algebra", "sum").remembers
    receipt = await one.hand_in(ADAS, now=0.0)
    with pytest.raises(Conflict, match="hand in when it is over"):
        await other.hand_in(ADAS, now=0.0)
    shown = await other.seed(other.courses.task("algebra", "sum"), ADA)
    assert (await other.submissions.get(receipt.id)).seed == shown


async def test_to_show_a_task_no_earlier_result_is_read(
    url: str, tmp_path: Path, open_submissions: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    submissions = await open_submissions(url)
    desk = await desk_of(submissions, tmp_path)
    first = await desk.hand_in(ADAS, now=0.0)
    for work in await submissions.store.claim("w", 10, {}):
        result = KeptResult(result=b"{}", verdict="failed", grade=0.0)
        ending = Ending(holder="w", submission=work.submission, result=result, seconds=1.0)
        assert await submissions.store.finish(ending)

    async def read(_: Submissions, name: str) -> bytes:
        raise AssertionError(f"the result of {name} was read")

    monkeypatch.setattr(Submissions, "result", read)
    shown = await desk.seed(desk.courses.task("algebra", "sum"), ADA)
    second = await desk.hand_in(ADAS, now=0.0)
    kept = [(await submissions.get(each.id)).seed for each in (first, second)]
    assert kept == [shown, shown]
