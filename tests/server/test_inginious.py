"""Courses of INGInious, as their folders are, on a server that is a process of its own."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from server_process import ServerProcess, until
from test_grading import made_token
from test_regrade import assay

from assay.bench.grading import TUTORIAL

Make = Callable[..., ServerProcess]
COURSE = Path(__file__).parents[1] / "grading/inginious/course"
ANSWERS: dict[str, Any] = {
    "answers": {"q1": "first\nsecond @@@username@@", "q3": 42, "q4": [0], "q5": "anything"},
    "files": {
        "q2": {
            "content": base64.b64encode(b"one\ntwo\n").decode(),
            "encoding": "base64",
            "name": "notes.txt",
        }
    },
}

TEACHES = ["submit", "teach", "read"]


@pytest.fixture
def course(tmp_path: Path) -> Path:
    folder = tmp_path / "everything"
    shutil.copytree(COURSE, folder)
    return folder


@pytest.fixture
def serving(server: Make, course: Path) -> ServerProcess:
    return server(
        environments=("python=2",), arguments=("--courses", f"{course},{TUTORIAL}"),
        variables={"ASSAY_SERVER_TOKEN": "a secret that is long enough"},
    )  # fmt: skip


class Client:
    """Of one token."""

    def __init__(self, http: aiohttp.ClientSession, token: str) -> None:
        self.http = http
        self.token = token
        self.headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.http.get(f"/api/v1{path}", headers=self.headers) as answer:
            assert answer.status == status, await answer.text()
            return await (answer.json() if answer.content_type == "application/json" else
                          answer.read())  # fmt: skip

    async def post(self, path: str, body: dict[str, Any], status: int = 202) -> Any:
        url = f"/api/v1{path}"
        async with self.http.post(url, json=body, headers=self.headers) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    async def hand_in(
        self, task: str, *, status: int = 202, learner: str = "ada", **given: Any
    ) -> Any:
        course = task if "/" in task else f"everything/{task}"
        course, _, name = course.partition("/")
        path = f"/courses/{course}/tasks/{name}/submissions"
        return await self.post(path, {"learner": learner, **given}, status)

    async def graded(self, task: str, **given: Any) -> Any:
        made = await self.hand_in(task, **given)
        for _ in range(4):
            found = await self.get(f"/submissions/{made['id']}?waitSeconds=20")
            if found["state"] not in ("waiting", "leased"):
                return found
        raise AssertionError(found)


NONSENSE: list[tuple[str, dict[str, Any], int, str]] = [
    ("hostile", {}, 400, "q1 is missing"),
    ("hostile", {"answers": {"q1": ""}}, 400, "q1 is empty"),
    ("hostile", {"answers": {"q1": [1, 2]}}, 400, "q1 is a text"),
    ("hostile", {"answers": {"q2": "x"}}, 400, "the task has q1"),
    ("hostile", {"answers": {"q1": "x"}, "inputs": {"@state": "forged"}}, 400, "server's to say"),
    ("hostile", {"answers": {"q1": "x"}, "inputs": {"@lang": "x" * 2000}}, 400, "too long"),
    ("commands", {**ANSWERS, "files": {"q2": {"content": "x", "name": "a.exe"}}}, 400, ".txt"),
    ("commands", {**ANSWERS, "files": {"q2": {"content": "x", "name": "../a.txt"}}}, 400, "name"),
    ("commands", {**ANSWERS, "files": {"q2": {"content": "x" * 2000, "name": "a.txt"}}}, 400,
     "more than 1,000 bytes"),
    ("commands", {"answers": {**ANSWERS["answers"], "q4": [9]}, "files": ANSWERS["files"]}, 400,
     "none of its choices"),
    ("legacy", {"answers": {"q1": "x"}}, 400, "closed"),
    ("none", {"answers": {"q1": "x"}}, 404, "no task"),
]  # fmt: skip


@pytest.mark.root
async def test_a_course_is_offered_handed_in_for_and_graded(serving: ServerProcess) -> None:
    serving.start()
    async with aiohttp.ClientSession(serving.url) as http:
        teacher = Client(http, await made_token(serving, "teacher", TEACHES))
        learner = Client(http, await made_token(serving, "learner", ["submit"]))
        await _is_offered(teacher, learner)
        await _is_graded(teacher, learner)
        await _looks_back(learner, teacher)
        await _has_rules(learner)
        await _is_in_stock(teacher)
        await _loses_a_sandbox(teacher, serving)
        for task, given, status, words in NONSENSE:
            refused = await learner.hand_in(task, status=status, learner="eve", **given)
            assert words in refused["detail"], refused


async def _is_offered(teacher: Client, learner: Client) -> None:
    courses = {each["id"]: each for each in (await teacher.get("/courses"))["courses"]}
    everything, tutorial = courses["everything"], courses["tutorial"]
    tasks = {each["id"]: each for each in everything["tasks"]}
    assert list(tasks)[:2] == ["commands", "python"]  # as its sections say
    assert {each["kind"] for each in tasks.values()} == {"inginious"}
    assert (tasks["commands"]["weight"], tasks["students"]["weight"]) == (2.0, 0.5)
    assert (tasks["legacy"]["closed"], tasks["commands"]["closed"]) == (True, False)
    assert everything["remarks"] == ["something_new is not known"]
    assert "five_cases" not in {each["id"] for each in tutorial["tasks"]}
    mine = await learner.get("/courses/everything/tasks/commands?learner=ada")
    assert len(mine["randoms"]) == 3
    assert mine == await learner.get("/courses/everything/tasks/commands?learner=ada")
    others = await learner.get("/courses/everything/tasks/commands?learner=bob")
    assert not set(mine["randoms"]) & set(others["randoms"])
    nobodys = await learner.get("/courses/everything/tasks/commands")
    assert nobodys["randoms"] == nobodys["remarks"] == []
    parts = {each["id"]: each for each in nobodys["parts"]}
    assert [each["kind"] for each in parts.values()][:4] == [
        "code", "file", "match", "multiple_choice",
    ]  # fmt: skip
    assert (parts["q2"]["extensions"], parts["q2"]["mostBytes"]) == ([".txt"], 1000)
    assert parts["q4"]["choices"] == ["one", "two"]
    assert "fine" not in str(nobodys), "what is right is hidden"
    assert "42" not in str({name: part for name, part in parts.items() if name == "q3"})


async def _is_graded(teacher: Client, learner: Client) -> None:
    found = (await teacher.graded("commands", **ANSWERS, inputs=INPUTS))["result"]
    assert (found["verdict"], found["grade"]) == ("passed", 87.5), found["detail"]
    assert "Hello ada: 42" in found["message"]
    assert found["parts"][0]["message"] == "from stdin and more"
    assert found["tags"]["loops"] is True
    assert found["custom"]["list"] == [1, {"a": None}]
    for who, path in ((learner, "commands"), (learner, "hostile")):
        given = {**ANSWERS, "inputs": INPUTS} if path == "commands" else script("exit 3")
        seen = (await who.graded(path, **given, learner="carol"))["result"]
        assert not any(seen[name] for name in ("detail", "custom", "stdout", "stderr", "record"))
        assert seen["archive"] is None
        assert seen["tags"] == ({"loops": True} if path == "commands" else {})
    assert (seen["verdict"], seen["grade"]) == ("error", None)
    assert "not your fault" in seen["message"]
    (first, *_) = (await teacher.get("/submissions?task=commands&learner=ada"))["submissions"]
    with tarfile.open(fileobj=io.BytesIO(await teacher.get(f"/submissions/{first['id']}/archive"))
                      ) as tar:  # fmt: skip
        assert "template.c" in tar.getnames()
    await learner.get(f"/submissions/{first['id']}/archive", 403)
    choices = {"one": 0, "more": [0, 1], "word": "42"}
    assert (await learner.graded("choices", answers=choices))["result"]["grade"] == 100
    assert (await learner.graded("choices", answers={"one": [1], "word": "42"}))["result"][
        "verdict"
    ] == "partial"
    found = (await teacher.graded("students", answers={"q1": "exits"}))["result"]
    assert (found["grade"], found["custom"]["status"]) == (100, 7)
    assert [each["environment"] for each in found["record"]["used"]] == ["python"]


INPUTS = {"@email": "ada@example.org", "@username": "ada"}


def script(text: str) -> dict[str, Any]:
    """For the grader that does what it is told."""
    return {"answers": {"q1": text}}


async def _looks_back(learner: Client, teacher: Client) -> None:
    """Attempts and states are of a learner's earlier submissions, and randoms are as shown."""
    says = (
        'feedback-result success; feedback-state "$(getinput @state)$(getinput @attempts)";'
        'feedback-msg -m "$(getinput @state)/$(getinput @attempts)/$(getinput @random)"'
    )
    texts = []
    for text in (says, "exit 1", says, says):
        found = (await teacher.graded("hostile", **script(text), learner="dan"))["result"]
        texts.append(found["message"].split("/")[:2])
    assert [texts[at] for at in (0, 2, 3)] == [["", "1"], ["1", "2"], ["12", "3"]]
    shown = await teacher.get("/courses/everything/tasks/commands?learner=dan")
    given = {**ANSWERS, "inputs": {**INPUTS, "@username": "dan"}}
    found = (await teacher.graded("commands", **given, learner="dan"))["result"]
    assert found["custom"]["random"] == shown["randoms"]
    # What depends on the one before is graded one at a time.
    first = await learner.hand_in("commands", **given, learner="finn", key="first")
    refused = await learner.hand_in("commands", **given, learner="finn", status=409)
    assert "being graded" in refused["detail"]
    again = await learner.hand_in("commands", **given, learner="finn", key="first")
    assert (again["id"], again["new"]) == (first["id"], False)


async def _has_rules(learner: Client) -> None:
    for status in (202, 202, 400):
        made = await learner.hand_in("shared", answers={"q1": "x"}, learner="gus", status=status)
    assert "2 submissions in 24 hours" in made["detail"]


async def _is_in_stock(teacher: Client) -> None:
    """Rooms that were wanted are there before they are wanted again."""
    pools = (await teacher.get("/pool"))["environments"]
    rooms = {name: each for name, each in pools.items() if name.startswith("python~")}
    assert 2 <= len(rooms) <= 8, "tasks that are nearly alike share them"
    assert all(each["target"] >= 2 for each in rooms.values())
    await until(lambda: _is_full(teacher), 20)
    waits = []
    for _ in range(3):
        found = (await teacher.graded("hostile", **script("feedback-result success")))["result"]
        waits.append(found["delays"]["bootingMs"])
    assert min(waits) < 30, "nothing was in stock"


async def _is_full(teacher: Client) -> bool:
    pools = (await teacher.get("/pool"))["environments"]
    return all(each["idle"] >= each["target"] for each in pools.values())


async def _loses_a_sandbox(teacher: Client, serving: ServerProcess) -> None:
    """That is nobody's fault: it is graded again, and counts as one attempt."""
    says = 'sleep 1.7321; feedback-result success; feedback-msg -m "$(getinput @attempts)"'
    made = await teacher.hand_in("hostile", **script(says), learner="hana")
    await until(lambda: _was_killed("1.7321", serving), 10)
    found = await teacher.get(f"/submissions/{made['id']}?waitSeconds=40")
    assert (found["result"]["grade"], found["result"]["message"]) == (100, "1")
    assert found["attempts"] == 2


async def _was_killed(word: str, serving: ServerProcess) -> bool:
    """The sandbox in which a program with this argument runs, with all of its processes."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word.encode() in (path / "cmdline").read_bytes().split(b"\0"):
                group = (path / "cgroup").read_text()
                ids = {each for each in serving.sandboxes() if f"/{each}/" in group}
                for pid in serving.processes(ids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return bool(ids)
    return False


@pytest.mark.root
async def test_grading_again_is_with_the_same_files_inputs_and_state(
    serving: ServerProcess, course: Path
) -> None:
    serving.start()
    connections = aiohttp.TCPConnector(force_close=True)  # the server is another one later
    async with aiohttp.ClientSession(serving.url, connector=connections) as http:
        teacher = Client(http, await made_token(serving, "teacher", TEACHES))
        says = (
            "feedback-result success; feedback-grade $((40 + 10 * $(getinput @attempts)));"
            ' feedback-msg -m "$(getinput @state)";'
            ' feedback-state "$(cat /course/common/words.txt)"'
        )
        made = [await teacher.graded("hostile", **script(says)) for _ in range(2)]
        assert [each["result"]["grade"] for each in made] == [50, 60]
        assert made[1]["result"]["message"] == "shared words"
        (course / "$common/words.txt").write_text("other words")
        digest = made[0]["digest"]
        await until(lambda: is_another(teacher, digest), 10)
        for version, changes in (("recorded", ["same", "same"]), ("newest", ["same", "same"])):
            started = await teacher.post(
                "/courses/everything/regrades", {"task": "hostile", "version": version}
            )
            await teacher.get(f"/regrades/{started['id']}/events")
            report = await teacher.get(f"/regrades/{started['id']}/report")
            found = report["differences"]
            assert [each["change"] for each in found] == changes, found
            remarks = ["another version of the task"] if version == "newest" else []
            assert [each["remarks"] for each in found] == [remarks, remarks]
        serving.kill()  # what it has kept is there for the next one, and nothing else is left
        serving.start()
        applied = await teacher.post(f"/regrades/{started['id']}/apply", {}, 200)
        assert applied["applied"]["applied"] == 2
        await _is_exported(teacher, made[0]["id"])
        whole = await teacher.get(f"/submissions/{made[1]['id']}/record")
        assert "common/words.txt" in whole["commonFiles"]
    arguments = ("grade", "--json", "--record", made[1]["id"], "--token", teacher.token)
    code, out, err = await assay(serving, *arguments)
    assert code == 0, (code, out, err)
    assert json.loads(out)["remarks"] == [], err
    assert (json.loads(out)["grade"], json.loads(out)["message"]) == (60, "shared words")


async def is_another(client: Client, digest: str) -> bool:
    found = await client.get("/courses/everything/tasks/hostile")
    return bool(found["digest"] != digest)


async def _is_exported(teacher: Client, name: str) -> None:
    found = (await teacher.get("/courses/everything/results?policy=best"))["results"]
    assert [(each["learner"], each["grade"]) for each in found] == [("ada", 60)]
    text = (await teacher.get(f"/submissions/{name}/results?format=junit")).decode()
    assert "hostile" in text
    text = (await teacher.get("/courses/everything/results?format=csv")).decode()
    assert text.count("hostile") == 2


@pytest.mark.root
async def test_five_students_at_once_of_each_of_two_gradings_where_two_sandboxes_may_be(
    server: Make, course: Path
) -> None:
    """Neither grading waits for what the other one has, and none is tried a second time."""
    serving = server(
        environments=("python=0",),
        arguments=("--courses", str(course), "--most-sandboxes", "2", "--graders", "2"),
    )
    serving.start()
    async with aiohttp.ClientSession(serving.url) as http:
        learner = Client(http, "")
        asked = {"answers": {"q1": "at_once"}}
        made = [await learner.hand_in("students", learner=name, **asked) for name in ("a", "b")]
        for each in made:
            for _ in range(4):
                found = await learner.get(f"/submissions/{each['id']}?waitSeconds=20")
                if found["state"] not in ("waiting", "leased"):
                    break
            assert (found["attempts"], found["result"]["grade"]) == (1, 100.0), found
