"""Jobe's API over HTTP: what its clients send and get, with runs that answer as told."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from api_server import Everybody, Offered, served, services
from whole_server import settings_in, whole_server

from assay.api import Caller
from assay.api.jobe.face import PREFIX
from assay.api.limits import too_often
from assay.domain.errors import (
    AssayError,
    CapacityExceeded,
    ConnectionLost,
    Draining,
    PoolExhausted,
    Unauthenticated,
)
from assay.domain.facts import Facts
from assay.domain.limits import MIB, ExecutionLimits, SandboxLimits
from assay.domain.outcome import Outcome, OutcomeKind
from assay.environments import ServedEnvironment, StepKind
from assay.runners import RunRequest, RunResult
from assay.storage.file_cache import FileCache

ID = "0123456789abcdef"


class Runs:
    """Answers each run with the next result, and remembers what was asked for."""

    def __init__(self) -> None:
        self.results: list[RunResult | Exception] = []
        self.asked: list[tuple[str, RunRequest]] = []
        self.go = asyncio.Event()
        """Until it is set, nothing ends."""
        self.go.set()

    async def run_once(
        self, environment: str, request: RunRequest, *, owner: str, deadline_seconds: float
    ) -> RunResult:
        self.asked.append((environment, request))
        await self.go.wait()
        result = self.results.pop(0) if self.results else ended()
        if isinstance(result, Exception):
            raise result
        return result

    def all(self, *, owner: str | None = None) -> list[Any]:
        return []


def ended(code: int = 0, stdout: bytes = b"", stderr: bytes = b"", **changes: Any) -> RunResult:
    given = {"step": StepKind.RUN, "outcome": Outcome(kind=OutcomeKind.EXITED, code=code)}
    return RunResult(
        facts=Facts(exit_code=code), stdout=stdout, stderr=stderr, **{**given, **changes}
    )


def offering(*languages: str) -> Offered:
    ceiling = ExecutionLimits(
        wall_seconds=120, cpu_seconds=120, output_bytes=64 * MIB, open_files=None
    )
    return Offered(
        {
            name: ServedEnvironment(
                name=name, language=name, ceiling=ceiling, sandbox=SandboxLimits()
            )
            for name in languages
        }
    )


Client = Callable[..., Awaitable[aiohttp.ClientSession]]


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
async def client(runs: Runs, tmp_path: Path) -> AsyncIterator[Client]:
    stack: list[Any] = []

    async def opened(**changes: Any) -> aiohttp.ClientSession:
        given = {
            "runners": runs,
            "environments": offering("c", "java", "python"),
            "sent_files": FileCache(tmp_path / "files"),
        }
        server = served(services(**{**given, **changes}))
        base = await server.__aenter__()
        stack.append(server)
        session = aiohttp.ClientSession(base_url=f"{base}{PREFIX}/")
        stack.append(session)
        return session

    yield opened
    while stack:
        await stack.pop().__aexit__(None, None, None)


async def run(session: aiohttp.ClientSession, language: str = "c", **changes: Any) -> Any:
    spec = {"language_id": language, "sourcecode": "x", **changes}
    async with session.post("runs", json={"run_spec": spec}) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_a_run_is_answered_with_five_fields(client: Client, runs: Runs) -> None:
    session = await client()
    runs.results = [ended(stdout=b"hi\n")]
    status, body, headers = await run(session)
    assert status == 200
    assert body.pop("run_id")
    assert body == {"outcome": 15, "cmpinfo": "", "stdout": "hi\n", "stderr": ""}
    assert headers["Content-Type"] == "application/json"


async def test_what_was_asked_for_reaches_the_run(client: Client, runs: Runs) -> None:
    session = await client()
    parameters = {"cputime": 2, "linkargs": ["-lm"], "runargs": ["a b"], "interpreterargs": []}
    await run(session, "C", sourcefilename="__tester__.c", input="in\n", parameters=parameters)
    [(environment, request)] = runs.asked
    assert environment == "c"
    assert (request.filename, request.source, request.stdin) == ("__tester__.c", b"x", b"in\n")
    assert request.args == ("a", "b")
    assert request.limits is not None
    assert (request.limits.cpu_seconds, request.limits.wall_seconds) == (2, 4)
    assert request.steps is not None
    assert request.steps.strict
    assert request.steps.lists["link_args"] == ("-lm",)
    assert request.steps.lists["compile_args"][:2] == ("-Wall", "-Werror")


async def test_who_asks_for_less_memory_gets_another_sandbox(client: Client, runs: Runs) -> None:
    session = await client()
    await run(session, "python3", parameters={"memorylimit": 64})
    assert runs.asked[0][0] == "python~less"


async def test_who_asks_for_more_than_there_is_is_told(client: Client) -> None:
    session = await client()
    status, _, headers = await run(session, parameters={"memorylimit": 16_000})
    assert (status, headers["Assay-Limited"]) == (200, "memorylimit=256")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (PoolExhausted("none"), 21),
        (CapacityExceeded("full"), 21),
        (Draining("stop"), 21),
        (ConnectionLost("gone"), 20),
        (AssayError("odd"), 20),
    ],
)
async def test_a_failure_of_the_server_is_an_outcome(
    client: Client, runs: Runs, error: Exception, outcome: int
) -> None:
    session = await client()
    runs.results = [error]
    status, body, _ = await run(session)
    assert (status, body["outcome"]) == (200, outcome)


async def test_a_python_that_cannot_be_read_is_no_program(client: Client, runs: Runs) -> None:
    session = await client()
    runs.results = [ended(1, stderr=b"SyntaxError"), ended(1, stderr=b'  File "prog.py", line 1')]
    _, body, _ = await run(session, "python3")
    assert (body["outcome"], body["cmpinfo"], body["stderr"]) == (
        11,
        '  File "prog.py", line 1',
        "",
    )
    check = runs.asked[1][1]
    assert check.steps is not None
    assert check.steps.run.argv[-3:] == ("-m", "py_compile", "{source}")


async def test_a_python_that_fails_is_a_program(client: Client, runs: Runs) -> None:
    session = await client()
    runs.results = [ended(1, stderr=b"ZeroDivisionError"), ended()]
    _, body, _ = await run(session, "python3")
    assert (body["outcome"], body["stderr"]) == (12, "ZeroDivisionError")
    runs.asked.clear()
    runs.results = [ended(1, stdout=b"said", stderr=b"ZeroDivisionError")]
    _, body, _ = await run(session, "python3")
    assert body["outcome"] == 12
    assert len(runs.asked) == 1  # who has said something could be read


async def test_errors_of_clients_are_strings(client: Client, runs: Runs) -> None:
    session = await client()
    for body, status in (
        (b"", 400),
        (b"{}", 400),
        (b'{"run_spec": {"language_id": "c"}}', 400),
        (b'{"run_spec": {"language_id": "octave", "sourcecode": ""}}', 400),
    ):
        async with session.post("runs", data=body) as answer:
            assert answer.status == status
            assert isinstance(await answer.json(), str)
    assert runs.asked == []


async def test_other_paths_and_methods_have_answers(client: Client) -> None:
    session = await client()
    for method, path, status in (
        ("GET", "nowhere", 404),
        ("GET", "runs", 405),
        ("POST", "languages", 405),
        ("DELETE", "files/0123456789abcdef", 405),
        ("GET", "runresults/7", 404),
    ):
        async with session.request(method, path) as answer:
            assert answer.status == status
            assert isinstance(await answer.json(), str)


async def test_a_slash_at_the_end_makes_no_difference(client: Client) -> None:
    session = await client()
    spec = {"run_spec": {"language_id": "c", "sourcecode": ""}}
    for method, path, status in (
        ("POST", "runs/", 200),
        ("PUT", f"files/{ID}/", 400),
        ("HEAD", f"files/{ID}/", 404),
        ("GET", "runs/", 405),
    ):
        async with session.request(method, path, json=spec) as answer:
            assert answer.status == status


async def raw(session: aiohttp.ClientSession, text: str, body: bytes = b"") -> tuple[str, bytes]:
    """The first line and the body of the answer to a request that is sent as it is."""
    base = session._base_url
    assert base is not None
    reader, writer = await asyncio.open_connection(base.host, base.port)
    head = f"{text}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    start, _, content = answer.partition(b"\r\n\r\n")
    return start.decode().splitlines()[0], content


@pytest.mark.parametrize(
    "path", [f"/{PREFIX}/runs", f"{PREFIX}//runs", f"/{PREFIX}//runs/", f"{PREFIX}/runs?a=1"]
)
async def test_a_host_entered_with_a_slash_at_its_end_works(client: Client, path: str) -> None:
    spec = json.dumps({"run_spec": {"language_id": "c", "sourcecode": ""}}).encode()
    line, content = await raw(await client(), f"POST {path} HTTP/1.1\r\nHost: x", spec)
    assert line == "HTTP/1.1 200 OK"
    assert json.loads(content)["outcome"] == 15


async def test_a_wrong_path_after_two_slashes_is_still_answered_for_jobe(client: Client) -> None:
    line, content = await raw(await client(), f"GET /{PREFIX}/nothing HTTP/1.1\r\nHost: x")
    assert line.startswith("HTTP/1.1 404 ")
    assert isinstance(json.loads(content), str)


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.0",
        "HTTP/1.1\r\nHost: x\r\nContent-Type: application/json; charset=utf-8\r\nAccept: text/html",
        "HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded",
        "HTTP/1.1\r\nHost: x\r\nContent-Type: nonsense\r\nAccept-Charset: latin1",
    ],
)
async def test_fields_that_say_little_change_nothing(client: Client, runs: Runs, head: str) -> None:
    runs.results = [ended(stdout="größer\n".encode())]
    spec = {"run_spec": {"language_id": "c", "sourcecode": "größer"}}
    body = json.dumps(spec, ensure_ascii=False).encode()
    line, content = await raw(await client(), f"POST {PREFIX}/runs {head}", body)
    assert line.endswith(" 200 OK")
    assert json.loads(content)["stdout"] == "größer\n"
    [(_, request)] = runs.asked
    assert request.source == "größer".encode()


async def test_a_client_that_waits_for_100_continue_gets_it(client: Client) -> None:
    session = await client()
    body = {"file_contents": base64.b64encode(bytes(200_000)).decode()}
    async with session.put(f"files/{ID}", json=body, expect100=True) as answer:
        assert answer.status == 204


async def test_languages_are_pairs_found_once(client: Client, runs: Runs) -> None:
    session = await client()
    runs.results = [
        ended(stdout=b"gcc (Debian 12.2.0-14) 12.2.0\n"),
        ended(stderr=b'openjdk version "17.0.15" 2025-04-15\n'),
        ended(stdout=b"Python 3.11.2\n"),
    ]
    for path in ("languages", "languages/"):
        async with session.get(path) as answer:
            assert ["c", "12.2.0"] in (pairs := await answer.json())
            assert ["java", "17.0.15"] in pairs
            assert ["python3", "3.11.2"] in pairs
    assert len(runs.asked) == 3


async def test_a_language_that_does_not_work_is_not_listed(client: Client, runs: Runs) -> None:
    session = await client(environments=offering("c"))
    runs.results = [ended(127)]
    async with session.get("languages") as answer:
        assert await answer.json() == []
    runs.results = [PoolExhausted("none")]
    async with session.get("languages") as answer:
        assert await answer.json() == [["c", "unknown"]]


async def test_an_environment_can_be_named_after_a_language(client: Client, runs: Runs) -> None:
    data = ServedEnvironment(name="python3", language="python-data")
    offered = Offered({**offering("python").environments, "python3": data})
    session = await client(environments=offered)
    await run(session, "python3")
    assert runs.asked[0][0] == "python3"


# --- files ---------------------------------------------------------------------------------------


async def test_a_file_that_is_named_often_is_large_as_often(client: Client, runs: Runs) -> None:
    session = await client()
    contents = base64.b64encode(bytes(700_000)).decode()
    async with session.put(f"files/{ID}", json={"file_contents": contents}) as answer:
        assert answer.status == 204
    status, body, _ = await run(session, file_list=[[ID, f"{n}.txt"] for n in range(200)])
    assert (status, "too large together" in body) == (400, True)
    assert runs.asked == []


async def test_the_whole_exchange_with_files(client: Client, runs: Runs) -> None:
    session = await client()
    asked = {"file_list": [[ID, "data.txt"]]}
    status, body, _ = await run(session, **asked)
    assert (status, type(body)) == (404, str)
    contents = base64.b64encode(b"\x00data").decode()
    async with session.put(f"files/{ID}", json={"file_contents": contents}) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    async with session.head(f"files/{ID}") as answer:
        assert answer.status == 204
    async with session.head(f"files/{ID}0") as answer:
        assert answer.status == 404
    status, _, _ = await run(session, **asked)
    assert status == 200
    [(_, request)] = runs.asked
    assert [(each.path, each.content) for each in request.files] == [("data.txt", b"\x00data")]


async def test_requests_that_wait_have_a_file_in_common_till_another_is_sent(
    client: Client, runs: Runs
) -> None:
    session = await client()

    async def put(content: bytes) -> None:
        contents = base64.b64encode(content).decode()
        async with session.put(f"files/{ID}", json={"file_contents": contents}) as answer:
            assert answer.status == 204

    async def asked(count: int) -> list[asyncio.Task[Any]]:
        before = len(runs.asked)
        made = [asyncio.create_task(run(session, file_list=[[ID, "a"]])) for _ in range(count)]
        for _ in range(1000):
            if len(runs.asked) == before + count:
                break
            await asyncio.sleep(0.01)
        return made

    runs.go.clear()
    await put(bytes(100_000))
    waiting = await asked(10)
    contents = [request.files[0].content for _, request in runs.asked]
    assert all(each is contents[0] for each in contents)
    await put(b"another")
    waiting += await asked(1)
    assert runs.asked[-1][1].files[0].content == b"another"
    runs.go.set()
    assert [(await each)[0] for each in waiting] == [200] * 11


async def test_files_that_make_no_sense_are_refused(client: Client, tmp_path: Path) -> None:
    session = await client()
    for path, body in (
        ("files/short", {"file_contents": ""}),
        (f"files/..%2f..%2f{ID}", {"file_contents": ""}),
        ("files/%D9%A1%D9%A2%D9%A3%D9%A4%D9%A5%D9%A6%D9%A7%D9%A8", {"file_contents": ""}),
        (f"files/{'a' * 2000}", {"file_contents": ""}),
        (f"files/{ID}", {"file_contents": "no base64!"}),
        (f"files/{ID}", {"file_contents": "AAA"}),
        (f"files/{ID}", {"file_contents": 7}),
        (f"files/{ID}", {}),
        (f"files/{ID}", []),
        (f"files/{ID}", None),
    ):
        async with session.put(path, data=json.dumps(body)) as answer:
            assert answer.status == 400, path
            assert isinstance(await answer.json(), str)
    assert list(tmp_path.rglob("*")) == []


async def test_a_disk_that_is_full_is_said(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await client()

    async def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileCache, "put", full)
    async with session.put(f"files/{ID}", json={"file_contents": ""}) as answer:
        assert answer.status == 507
        assert "No space left" in await answer.json()


# --- who may -------------------------------------------------------------------------------------


class Keys:
    """Knows keys by their text."""

    def __init__(self) -> None:
        self.limited = False

    async def authenticate(self, headers: Any, address: str, *, counted: bool = False) -> Caller:
        if headers.get("Authorization") not in ("Bearer mine", "Bearer other", "Bearer reads"):
            raise Unauthenticated("a token is missing, or not known")
        if self.limited:
            raise too_often(30.0)
        key = headers["Authorization"].split()[1]
        scopes = frozenset({"read"}) if key == "reads" else frozenset({"run"})
        return Caller(token_id=key, scopes=scopes, most_executions=1)


async def test_who_has_no_key_or_another_one_gets_403(client: Client) -> None:
    session = await client(authenticator=Keys())
    for headers in ({}, {"X-API-KEY": "wrong"}, {"X-API-KEY": ""}, {"X-API-KEY": "reads"}):
        for method, path in (("GET", "languages"), ("POST", "runs"), ("PUT", f"files/{ID}")):
            async with session.request(method, path, headers=headers) as answer:
                assert answer.status == 403
                assert isinstance(await answer.json(), str)
        async with session.head(f"files/{ID}", headers=headers) as answer:
            assert answer.status == 403


async def test_a_key_is_a_token_whatever_else_is_sent(client: Client) -> None:
    session = await client(authenticator=Keys())
    for headers in (
        {"X-API-KEY": "mine"},
        {"x-api-key": "mine", "Poseidon-Token": "wrong", "Authorization": "Bearer wrong"},
        {"Authorization": "Bearer mine"},
    ):
        async with session.head(f"files/{ID}", headers=headers) as answer:
            assert answer.status == 404


async def test_who_asks_too_often_gets_429(client: Client) -> None:
    keys = Keys()
    session = await client(authenticator=keys)
    keys.limited = True
    async with session.get("languages", headers={"X-API-KEY": "mine"}) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "30")


async def test_a_key_has_its_own_files(client: Client) -> None:
    session = await client(authenticator=Keys())
    body = {"file_contents": base64.b64encode(b"poison").decode()}
    async with session.put(f"files/{ID}", json=body, headers={"X-API-KEY": "other"}) as answer:
        assert answer.status == 204
    async with session.head(f"files/{ID}", headers={"X-API-KEY": "mine"}) as answer:
        assert answer.status == 404


async def test_a_quota_is_an_overload(client: Client, runs: Runs) -> None:
    session = await client(authenticator=Keys())
    going, end = asyncio.Event(), asyncio.Event()

    async def slow(*_: Any, **__: Any) -> RunResult:
        going.set()
        await end.wait()
        return ended()

    runs.run_once = slow  # type: ignore[method-assign]
    spec = {"run_spec": {"language_id": "c", "sourcecode": ""}}
    first = asyncio.create_task(session.post("runs", json=spec, headers={"X-API-KEY": "mine"}))
    await going.wait()
    async with session.post("runs", json=spec, headers={"X-API-KEY": "mine"}) as answer:
        assert (answer.status, (await answer.json())["outcome"]) == (200, 21)
    end.set()
    async with await first as answer:
        assert (await answer.json())["outcome"] == 15


async def test_a_page_may_ask_what_it_may(client: Client) -> None:
    session = await client(authenticator=Keys())
    asked = {"Origin": "https://moodle.example.org", "Access-Control-Request-Method": "POST"}
    async with session.options("runs", headers=asked) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "X-API-KEY" in answer.headers["Access-Control-Allow-Headers"]
    async with session.get("languages") as answer:
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (403, "*")


async def test_everybody_is_a_stand_in() -> None:
    assert (await Everybody().authenticate({}, "")).token_id == ""


# --- any request ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("jobe")
    folder.chmod(0o700)
    with whole_server(settings_in(folder, most_sandboxes=10)) as url:
        yield f"{url}{PREFIX}"


HOSTILE = [
    b"", b"null", b"[]", b"{", b"\xff\xfe", b"[" * 50_000, b'"' + b"a" * 100_000,
    b'{"run_spec": null}', b'{"run_spec": {"language_id": null, "sourcecode": null}}',
    b'{"run_spec": {"language_id": "bash", "sourcecode": "x", "file_list": [[]]}}',
    b'{"run_spec": {"language_id": "bash", "sourcecode": "x", "parameters": {"numprocs": 1e308}}}',
    b'{"run_spec": {"language_id": "bash", "sourcecode": "", "parameters": {"linkargs": ["x"]}}}',
    b'{"run_spec": {"language_id": "bash", "sourcecode": "x", "sourcefilename": "\\u0000"}}',
    b'{"run_spec": {"language_id": "bash~16m-8p-8m", "sourcecode": "x"}}',
    b'{"run_spec": {"language_id": "../../etc", "sourcecode": "x"}}',
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE)
def test_no_body_is_answered_with_a_failure_of_the_server(whole: str, body: bytes) -> None:
    paths = (f"files/{ID}", "files/x", "files/%00%00%00%00")
    for method, path in (
        *(("PUT", path) for path in paths),
        ("POST", "runs"),
        ("GET", "languages"),
        ("POST", "files"),
    ):
        answer = requests.request(method, f"{whole}/{path}", data=body, timeout=20)
        assert answer.status_code < 500, (method, path, answer.text)


def test_a_whole_server_over_fake_sandboxes_answers(whole: str) -> None:
    spec = {"language_id": "bash", "sourcecode": "x", "parameters": {"memorylimit": 16}}
    answer = requests.post(f"{whole}/runs", json={"run_spec": spec}, timeout=20)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"run_id", "outcome", "cmpinfo", "stdout", "stderr"}


def test_a_compressed_body_is_refused(whole: str) -> None:
    headers = {"Content-Encoding": "gzip"}
    answer = requests.post(f"{whole}/runs", data=b"\x1f\x8b", headers=headers, timeout=20)
    assert answer.status_code == 415


def test_pages_of_others_get_nothing_from_a_server_without_keys(whole: str) -> None:
    headers = {"Origin": "https://evil.example.org"}
    assert requests.get(f"{whole}/languages", headers=headers, timeout=20).status_code == 403
