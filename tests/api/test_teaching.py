"""Who teaches some courses sees and changes nothing of others, by whatever route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from graded_server import GradedServer, graded_server

from assay.api.routes import ROUTES
from assay.grading.results import PartResult, Verdict, archive_of
from assay.grading.results import TestResult as Tried

OF_COURSE = [
    route for route in ROUTES
    if route.scope == "teach" and "{course}" in route.path
]  # fmt: skip
OF_SUBMISSION = [
    route for route in ROUTES
    if route.scope in ("teach", "submit") and "{submission_id}" in route.path
]  # fmt: skip
OF_CAMPAIGN = [route for route in ROUTES if "{regrade_id}" in route.path]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[GradedServer]:
    tmp_path.chmod(0o700)
    async with graded_server(tmp_path, f"sqlite:///{tmp_path}/server.db") as made:
        yield made


def body_for(path: str) -> object:
    return {"url": "https://lms.example/"} if path.endswith("/webhooks") else {}


def test_all_that_teachers_may_do_is_looked_at() -> None:
    """A route with the scope that names neither is one that this file does not know."""
    taught = {route.path for route in ROUTES if route.scope == "teach"}
    known = {route.path for route in (*OF_COURSE, *OF_SUBMISSION, *OF_CAMPAIGN)}
    assert taught - known == {"/regrades"}
    assert len(taught) >= 15


@pytest.mark.parametrize("route", OF_COURSE, ids=lambda route: f"{route.method} {route.path}")
async def test_a_course_that_is_not_named_is_closed(server: GradedServer, route: Any) -> None:
    teacher = await server.token("teach", "submit", courses=("algebra",))
    names = {"webhook_id": "0", "task": "sum"}
    for course, refused in (("logic", True), ("none", True), ("algebra", False)):
        path = route.path.format(course=course, **names)
        status, answer = await server.ask(route.method, path, teacher, body_for(route.path))
        assert (status == 403) is refused, (course, status, answer)
        if refused:
            assert course in answer["detail"]


@pytest.mark.parametrize("route", OF_SUBMISSION, ids=lambda route: f"{route.method} {route.path}")
async def test_a_submission_of_another_course_is_not_there(
    server: GradedServer, route: Any
) -> None:
    platform = await server.token("submit")
    name = await server.hand_in("logic", "ada", platform)
    await server.grade_all(archive=archive_of(b"kept"))
    path = route.path.format(submission_id=name)
    other = await server.token("teach", "submit", courses=("algebra",))
    assert (await server.ask(route.method, path, other))[0] == 404
    own = await server.token("teach", "submit", courses=("algebra", "logic"))
    status, answer = await server.ask(route.method, path, own)
    assert status == (200 if "record" not in path else 404), answer


@pytest.mark.parametrize("route", OF_CAMPAIGN, ids=lambda route: f"{route.method} {route.path}")
async def test_a_campaign_of_another_course_is_not_there(server: GradedServer, route: Any) -> None:
    everywhere = await server.token("teach", "submit")
    await server.hand_in("logic", "ada", everywhere)
    await server.grade_all()
    _, made = await server.ask("POST", "/courses/logic/regrades", everywhere, {})
    await server.grade_all(60.0)
    path = route.path.format(regrade_id=made["id"])
    other = await server.token("teach", courses=("algebra",))
    assert (await server.ask(route.method, path, other, {}))[0] == 404
    own = await server.token("teach", courses=("logic",))
    assert (await server.ask(route.method, path, own, {}))[0] == 200


async def test_lists_hold_what_is_taught_and_what_is_ones_own(server: GradedServer) -> None:
    platform = await server.token("submit")
    teacher = await server.token("teach", "submit", courses=("algebra",))
    head = await server.token("teach", "submit")
    names = {
        "taught": await server.hand_in("algebra", "ada", platform),
        "others": await server.hand_in("logic", "ada", platform),
        "own": await server.hand_in("logic", "bob", teacher),
    }
    await server.grade_all()
    for course in ("algebra", "logic"):
        assert (await server.ask("POST", f"/courses/{course}/regrades", head, {}))[0] == 202

    async def listed(path: str, key: str, who: dict[str, str]) -> list[Any]:
        status, answer = await server.ask("GET", path, who)
        assert status == 200, answer
        return list(answer[key])

    seen = {each["id"] for each in await listed("/submissions", "submissions", teacher)}
    assert seen == {names["taught"], names["own"]}
    assert len(await listed("/submissions?most=1", "submissions", teacher)) == 1
    logic = await listed("/submissions?course=logic", "submissions", teacher)
    assert [each["id"] for each in logic] == [names["own"]]
    assert len(await listed("/submissions", "submissions", head)) == 3
    courses = [each["course"] for each in await listed("/regrades", "regrades", teacher)]
    assert courses == ["algebra"]
    assert len(await listed("/regrades", "regrades", head)) == 2
    assert (await server.ask("GET", "/regrades?course=logic", teacher))[0] == 403
    # What is hidden from learners is hidden from who hands in for them there.
    _, own = await server.ask("GET", f"/submissions/{names['own']}", teacher)
    _, taught = await server.ask("GET", f"/submissions/{names['taught']}", teacher)
    assert (own["result"]["detail"], own["seed"]) == ("", None)
    assert taught["result"]["detail"] == "for teachers"


@pytest.mark.parametrize(("verdict", "grade"), [(Verdict.ERROR, None), (Verdict.PARTIAL, 50.0)])
async def test_of_hidden_tests_learners_hear_nothing_until_there_is_a_grade(
    server: GradedServer, verdict: Verdict, grade: float | None
) -> None:
    platform = await server.token("submit")
    teacher = await server.token("teach", "submit")
    name = await server.hand_in("algebra", "ada", platform)
    parts = [
        PartResult(
            id=part, verdict=Verdict.PASSED, score=1.0,
            tests=(Tried(name="a", verdict=Verdict.PASSED, score=1.0, hidden=part == "hidden"),),
        )
        for part in ("shown", "hidden")
    ]  # fmt: skip
    path = f"/submissions/{name}"
    told = [asyncio.create_task(server.ask("GET", f"{path}/events", who)) for who in
            (platform, teacher)]  # fmt: skip
    async with asyncio.timeout(20):
        while len(server.desk._listening[name]) < 2:  # noqa: ASYNC110 - nobody tells of listeners
            await asyncio.sleep(0.01)
    tell = server.desk._teller(name)
    for part in parts:
        tell(part)
    await server.grade_all(grade, verdict, parts=tuple(parts))
    to_learner, to_teacher = [str(content) for _, content in await asyncio.gather(*told)]
    assert to_learner.count("event: part") == (1 if grade is None else 2)
    assert ('"id":"hidden"' in to_learner) == (grade is not None)
    assert to_teacher.count("event: part") == 2
    assert to_teacher.count('"id":"hidden"') == 2
    for who, seen in ((platform, 1 if grade is None else 2), (teacher, 2)):
        _, answer = await server.ask("GET", path, who)
        assert len(answer["result"]["parts"]) == seen
        _, exported = await server.ask("GET", f"{path}/results?format=junit", who)
        assert (b"hidden" in exported) == (seen == 2)


async def test_nobody_gives_more_courses_than_it_teaches(server: GradedServer) -> None:
    clerk = await server.token("tokens", "teach", "submit", courses=("algebra",))
    head = await server.token("tokens", "teach", "submit")
    for who, scopes, courses, expected in (
        (clerk, ["teach"], ["algebra"], (201, ["algebra"])),
        (clerk, ["teach"], [], (201, ["algebra"])),
        (clerk, ["teach"], ["algebra", "logic"], (403, None)),
        (clerk, ["submit"], [], (201, None)),
        (head, ["teach"], [], (201, None)),
        (head, ["teach"], ["logic"], (201, ["logic"])),
        (head, ["submit"], ["logic"], (400, None)),
        (head, ["teach"], ["a\0"], (400, None)),
    ):
        body = {"name": "x", "scopes": scopes, "courses": courses}
        status, made = await server.ask("POST", "/tokens", who, body)
        assert (status, made.get("courses")) == expected, (scopes, courses, made)


async def test_an_archive_is_fetched_as_bytes_by_teachers_alone(server: GradedServer) -> None:
    platform, teacher = await server.token("submit"), await server.token("teach", "submit")
    name = await server.hand_in("algebra", "ada", platform)
    await server.grade_all(archive=archive_of(b"kept"))
    path = f"/submissions/{name}"
    assert (await server.ask("GET", path, platform))[1]["result"]["archive"] is None
    _, found = await server.ask("GET", path, teacher)
    assert found["result"]["archive"] == {
        "name": "archive.tar.gz", "size": 4, "digest": archive_of(b"kept").digest,
    }  # fmt: skip
    assert (await server.ask("GET", f"{path}/archive", platform))[0] == 403
    assert await server.ask("GET", f"{path}/archive", teacher) == (200, b"kept")
    assert await server.ask("GET", f"{path}/archive?revision=0", teacher) == (200, b"kept")
    assert (await server.ask("GET", f"{path}/archive?revision=1", teacher))[0] == 404
    assert (await server.ask("GET", f"{path}/archive?revision=x", teacher))[0] == 400


async def test_results_of_a_task_that_never_was_are_not_found(
    server: GradedServer, tmp_path: Path
) -> None:
    teacher = await server.token("teach", "submit")
    ways = ("/courses/algebra/tasks/{}/results", "/courses/algebra/results?task={}")
    for way in ways:
        status, answer = await server.ask("GET", way.format("sum"), teacher)
        assert (status, answer["results"]) == (200, [])  # nobody has handed in yet
        status, answer = await server.ask("GET", way.format("smu"), teacher)
        assert (status, answer["code"]) == (404, "not_found")
        assert "the course algebra has no task 'smu'" in answer["detail"]
    await server.hand_in("algebra", "ada", teacher)
    await server.grade_all()
    task = tmp_path / "algebra" / "sum"
    task.rename(tmp_path / "algebra" / "add")
    await server.courses.load()
    for way in ways:
        status, answer = await server.ask("GET", way.format("sum"), teacher)
        assert (status, len(answer["results"])) == (200, 1)
