"""Submissions to a server that is a process of its own, and may be killed at any moment."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from server_process import ServerProcess, until

from assay.storage.submissions.measured import SECONDS_UNTIL_KEPT

Make = Callable[..., ServerProcess]
TASK = """\
title = "Add"
environment = "python"
files = ["add.py"]
rules = { attempts = 3 }
sandbox = { memory = "96 MiB" }

[[parts]]
id = "shown"
kind = "cases"
cases = [{ name = "small", stdin = "1 2", expected = "3" }]

[[parts]]
id = "hidden"
kind = "cases"
hidden = true
cases = [{ name = "secret", stdin = "20 22", expected = "42", hint = "Larger." }]
"""
RIGHT = "print(sum(map(int, input().split())))"
PATH = "/api/v1/courses/first/tasks/add/submissions"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    folder = tmp_path / "first"
    (folder / "add").mkdir(parents=True)
    (folder / "course.toml").write_text('title = "First steps"')
    (folder / "add" / "task.toml").write_text(TASK)
    return folder


@pytest.fixture
def grading(server: Make, course: Path) -> ServerProcess:
    return server(environments=("python=2",), arguments=("--courses", str(course)))


async def hand_in(
    http: aiohttp.ClientSession, program: str, *, learner: str = "ada", key: str | None = None
) -> tuple[int, Any]:
    body = {"learner": learner, "files": {"add.py": program}, "key": key}
    async with http.post(PATH, json=body) as answer:
        return answer.status, await answer.json()


async def graded(http: aiohttp.ClientSession, name: str) -> Any:
    for _ in range(4):
        async with http.get(f"/api/v1/submissions/{name}?waitSeconds=20") as answer:
            found = await answer.json()
        if found["state"] not in ("waiting", "leased"):
            return found
    raise AssertionError(found)


@pytest.mark.root
async def test_a_submission_is_graded_and_told_part_by_part(grading: ServerProcess) -> None:
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        async with http.get("/api/v1/courses") as answer:
            (course,) = (await answer.json())["courses"]
        assert (course["id"], course["tasks"][0]["id"]) == ("first", "add")
        async with http.get("/api/v1/courses/first/tasks/add") as answer:
            shown = await answer.json()
        assert shown.pop("digest").startswith("sha256:")
        assert not any(word in str(shown) for word in ("secret", "20 22", "42"))
        status, right = await hand_in(http, RIGHT)
        assert status == 202
        found = await graded(http, right["id"])
        assert (found["state"], found["result"]["grade"]) == ("done", 100.0)
        _, wrong = await hand_in(http, "print(3)")
        async with http.get(f"/api/v1/submissions/{wrong['id']}/events") as answer:
            told = (await answer.text()).split("\n\n")
        kinds = [each.split("\n")[0] for each in told if each.startswith("event")]
        assert kinds[0] == kinds[-1] == "event: submission"
        assert (await graded(http, wrong["id"]))["result"]["grade"] == 50.0


FIVE = ("sendingMs", "waitingMs", "bootingMs", "gradingMs", "responseMs")


@pytest.mark.root
async def test_the_five_delays_of_a_result_are_what_its_learner_has_waited(
    grading: ServerProcess,
) -> None:
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        for number in range(5):  # of which this test itself may have to wait for its turn in some
            began = time.perf_counter()
            _, made = await hand_in(http, RIGHT, learner=f"l{number}")
            first = (await graded(http, made["id"]))["result"]["delays"]
            whole = 1000 * (time.perf_counter() - began)
            assert all(first[name] > 0 for name in FIVE), first
            assert sum(first.values()) <= whole, (first, whole)
            if 0.5 * whole < sum(first.values()):
                break
        assert 0.5 * whole < sum(first.values()), (first, whole)
        # What was measured for who waited is what others are told: now, and by the next server.
        assert (await graded(http, made["id"]))["result"]["delays"] == first
        await asyncio.sleep(2 * SECONDS_UNTIL_KEPT)
        began = time.perf_counter()
        _, slow = await hand_in_slowly(http, seconds=0.4)
        most = 1000 * (time.perf_counter() - began)
        delays = (await graded(http, slow["id"]))["result"]["delays"]
        # A server that is kept from its work sees the first piece late, and nobody the last early.
        assert 200 < delays["sendingMs"] <= most, (delays, most)
    grading.kill()
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        assert (await graded(http, made["id"]))["result"]["delays"] == first


async def hand_in_slowly(http: aiohttp.ClientSession, *, seconds: float) -> tuple[int, Any]:
    """The body comes in two pieces, as over a bad line."""
    body = json.dumps({"learner": "ada", "files": {"add.py": RIGHT}}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:10]
        await asyncio.sleep(seconds)
        yield body[10:]

    headers = {"Content-Type": "application/json"}
    async with http.post(PATH, data=pieces(), headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.root
async def test_a_single_submission_is_not_behind_another_courses_batch(
    grading: ServerProcess, course: Path, tmp_path: Path
) -> None:
    other = tmp_path / "second"
    shutil.copytree(course, other)
    grading.arguments = ("--courses", f"{course},{other}")
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        batch = [hand_in(http, RIGHT, learner=f"l{number}") for number in range(60)]
        assert {status for status, _ in await asyncio.gather(*batch)} == {202}
        body = {"learner": "bob", "files": {"add.py": RIGHT}}
        async with http.post(PATH.replace("first", "second"), json=body) as answer:
            one = await answer.json()
        one = await graded(http, one["id"])
        assert one["result"]["grade"] == 100.0
        # By the server's own clock: this test may get its turn a good while later.
        ends = [when(each["finishedAt"]) for each in await submissions(http)]
        began, ended = when(one["submittedAt"]), when(one["finishedAt"])
        # Those that were being graded, and their course's turns until the other one's: no more.
        assert sum(began < each < ended for each in ends) <= 8, (began, ended, ends)
        assert sum(each > ended for each in ends) > 8, "the batch was over too soon to see anything"
        for each in await submissions(http):
            await http.delete(f"/api/v1/submissions/{each['id']}")


async def submissions(http: aiohttp.ClientSession) -> list[Any]:
    async with http.get("/api/v1/submissions?most=1000") as answer:
        found: list[Any] = (await answer.json())["submissions"]
        return found


def when(said: str | None) -> float:
    """A time of an answer; null is later than all."""
    return inf if said is None else datetime.fromisoformat(said).timestamp()


@pytest.mark.root
async def test_nobody_may_submit_more_often_than_the_task_says(grading: ServerProcess) -> None:
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        made = await asyncio.gather(*(hand_in(http, RIGHT) for _ in range(6)))
        assert Counter(status for status, _ in made) == {202: 3, 400: 3}
        refused = [each for status, each in made if status != 202]
        assert all("takes 3 submissions" in each["detail"] for each in refused)
        assert (await hand_in(http, RIGHT, learner="bob"))[0] == 202


NONSENSE: list[tuple[str, Any, int]] = [
    (PATH, {"learner": "ada", "files": {}}, 400),
    (PATH, {"learner": "ada", "files": {"../add.py": ""}}, 400),
    (PATH, {"learner": "", "files": {"add.py": ""}}, 400),
    (PATH, {"learner": "a\u0000", "files": {"add.py": ""}}, 400),
    (PATH, {"learner": "a", "files": {"add.py": {"content": "?", "encoding": "base64"}}}, 400),
    (PATH.replace("add", "none"), {"learner": "ada", "files": {}}, 404),
    (PATH.replace("first", ".."), {"learner": "ada", "files": {}}, 404),
]


@pytest.mark.root
async def test_what_makes_no_sense_is_refused(grading: ServerProcess) -> None:
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        for path, body, status in NONSENSE:
            async with http.post(path, json=body) as answer:
                assert answer.status == status, (body, await answer.text())


@pytest.mark.root
async def test_hidden_tests_and_other_peoples_submissions_are_for_teachers(
    grading: ServerProcess,
) -> None:
    grading.variables["ASSAY_SERVER_TOKEN"] = "a secret that is long enough"
    grading.start()
    boss = {"Authorization": "Bearer a secret that is long enough"}
    tokens = {}
    async with aiohttp.ClientSession(grading.url) as http:
        for name in ("one", "two", "teacher"):
            scopes = ["submit", "teach"] if name == "teacher" else ["submit"]
            tokens[name] = await made_token(grading, name, scopes)
        one, two, teacher = ({"Authorization": f"Bearer {tokens[name]}"} for name in tokens)
        body = {"learner": "ada", "files": {"add.py": "print(3)"}}
        async with http.post(PATH, json=body, headers=one) as answer:
            assert answer.status == 202
            name = (await answer.json())["id"]
        where = f"/api/v1/submissions/{name}?waitSeconds=30"
        async with http.get(where, headers=two) as answer:
            assert answer.status == 404
        async with http.get(where, headers=one) as answer:
            mine = await answer.text()
        assert "Larger." in mine
        assert "20 22" not in mine
        assert "expected '42'" not in mine
        async with http.get(where, headers=teacher) as answer:
            assert "20 22" in await answer.text()
        async with http.get("/api/v1/submissions", headers=two) as answer:
            assert (await answer.json())["submissions"] == []
        async with http.get("/api/v1/courses", headers=boss) as answer:
            assert answer.status == 200


async def made_token(server: ServerProcess, name: str, scopes: list[str]) -> str:
    arguments = [part for scope in scopes for part in ("--scope", scope)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assay", "--state", str(server.state), "token", "create",
        "--database", f"sqlite:///{server.state}/server.db", "--json", *arguments, name,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    return str(json.loads(out)["token"])


@pytest.mark.root
async def test_a_server_that_is_killed_grades_everything_once(grading: ServerProcess) -> None:
    """None is lost, none is graded twice, and each has the grade that it deserves."""
    grading.start()
    chance = random.Random(7)
    deserved: dict[str, float] = {}
    for round_ in range(3):
        async with aiohttp.ClientSession(grading.url) as http:
            for number in range(8):
                program, grade = ((RIGHT, 100.0), ("print(3)", 50.0), ("", 0.0))[number % 3]
                status, made = await hand_in(http, program, learner=f"l{round_}-{number}")
                assert status == 202
                deserved[made["id"]] = grade
            await asyncio.sleep(chance.uniform(0, 0.5))
        grading.kill()
        grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        for name, grade in deserved.items():
            found = await graded(http, name)
            assert (found["state"], found["result"]["grade"]) == ("done", grade)
        async with http.get("/api/v1/submissions?most=1000") as answer:
            assert len((await answer.json())["submissions"]) == len(deserved)
    # What was just being made when a server was killed is nobody's, and goes a little later.
    await until(lambda: _has_only_its_pool(grading), 60)


async def _has_only_its_pool(server: ServerProcess) -> bool:
    return len(server.sandboxes()) <= 2


@pytest.mark.root
async def test_a_task_that_changes_is_graded_as_it_was_when_it_was_handed_in(
    grading: ServerProcess, course: Path
) -> None:
    grading.arguments = (*grading.arguments, "--graders", "0")
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        _, made = await hand_in(http, RIGHT)
    grading.stop()
    (course / "add" / "task.toml").write_text(TASK.replace('"42"', '"43"'))
    grading.arguments = grading.arguments[:-2]
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        assert (await graded(http, made["id"]))["result"]["grade"] == 100.0
        _, late = await hand_in(http, RIGHT)
        assert (await graded(http, late["id"]))["result"]["grade"] == 50.0
    rows = sqlite3.connect(grading.state / "server-submissions.db")
    assert rows.execute("select count(*) from submission").fetchone() == (2,)
    rows.close()


@pytest.mark.root
async def test_a_server_forgets_what_it_was_told_to_keep_for_so_many_days(
    grading: ServerProcess,
) -> None:
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        names = [(await hand_in(http, RIGHT, learner=who))[1]["id"] for who in ("ada", "bob")]
        for name in names:
            await graded(http, name)
    grading.stop()
    rows = sqlite3.connect(grading.state / "server-submissions.db")
    with rows:
        rows.execute(
            "UPDATE submission SET finished_at = finished_at - 172800 WHERE id = ?", names[:1]
        )
    rows.close()
    grading.start()  # it is kept for ever, unless somebody says otherwise
    async with aiohttp.ClientSession(grading.url) as http:
        assert {each["id"] for each in await submissions(http)} == set(names)
    grading.stop()
    grading.arguments = (*grading.arguments, "--keep-submissions-days", "1")
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:

        async def forgotten() -> bool:
            return [each["id"] for each in await submissions(http)] == names[1:]

        await until(forgotten)


TESTED = """\
title = "Add"
environment = "python"
files = ["add.py"]

[[parts]]
kind = "unit_tests"
id = "tests"
framework = "unittest"
tests = ["test_add.py"]
"""
TESTS = """\
import unittest, add
class T(unittest.TestCase):
    def test_1(self): self.assertEqual(add.add(1, 2), 3)
    def test_2(self): self.assertEqual(add.add(2, 2), 4)
"""


@pytest.mark.root
async def test_gradings_of_several_sandboxes_go_on_where_runners_leave_two(
    server: Make, course: Path
) -> None:
    (course / "add" / "task.toml").write_text(TESTED)
    (course / "add" / "test_add.py").write_text(TESTS)
    grading = server(
        environments=("python=0",),
        arguments=("--courses", str(course), "--most-sandboxes", "6", "--graders", "2"),
    )
    grading.start()
    async with aiohttp.ClientSession(grading.url) as http:
        for _ in range(4):
            body = {"environment": "python", "inactivityTimeout": 300}
            async with http.post("/api/v1/runners", json=body) as answer:
                assert answer.status == 200, await answer.text()
        program = "def add(a, b): return a + b"
        made = [await hand_in(http, program, learner=f"l{number}") for number in range(4)]
        started = time.monotonic()
        for _, each in made:
            found = await graded(http, each["id"])
            assert (found["attempts"], found["result"]["grade"]) == (1, 100.0)
        assert time.monotonic() - started < 45
