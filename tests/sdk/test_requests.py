"""Requests, their errors, and what is tried again."""

from __future__ import annotations

import socket

import pytest
from aiohttp import web
from wire_server import TOKEN, WireServer, problem

import assay_client
from assay_client import Client, Patience, Runner, errors


async def test_files_go_in_and_come_out(runner: Runner, server: WireServer) -> None:
    await runner.write({"a/ü.txt": "text", "b": b"\0\xff", "folder/": b""})
    assert await runner.read("a/ü.txt") == b"text"
    async with runner.open("b") as pieces:
        assert b"".join([piece async for piece in pieces]) == b"\0\xff"
    await runner.write({}, delete=["b"])
    with pytest.raises(errors.FileError) as caught:
        await runner.read("b")
    assert caught.value.status == 424


async def test_a_program_in_one_request(runner: Runner) -> None:
    result = await runner.run("python3", "hello.py", stdin="input")
    assert result.success
    assert result.stdout == "python3 hello.py input"
    assert result.measurements.wall_ns is not None
    assert result.measurements.wall_ns.value == 5


async def test_a_runner_is_given_back_whatever_happens(client: Client, server: WireServer) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client.runner("python"):
            raise ZeroDivisionError
    assert server.runners == {}
    assert ("POST", "/api/v1/runners") in server.requests


async def test_a_token_sees_its_runners(client: Client) -> None:
    async with client.runner("python") as one, client.runner("python") as other:
        assert [runner.id for runner in await client.runners()] == [one.id, other.id]


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (lambda: problem(401, "unauthenticated", "x"), errors.Unauthenticated, "unauthenticated"),
        (lambda: web.Response(status=401), errors.Unauthenticated, "unauthenticated"),
        (lambda: problem(403, "forbidden", "x"), errors.Forbidden, "forbidden"),
        (lambda: web.Response(status=404), errors.NotFound, "not_found"),
        (lambda: problem(404, "unknown_environment", "x"), errors.UnknownEnvironment, ""),
        (lambda: web.json_response({"message": "x"}, status=410), errors.RunnerGone, "runner_gone"),
        (lambda: web.json_response({"message": "x"}, status=400), errors.InvalidRequest, ""),
        (lambda: problem(400, "limit_over_ceiling", "x"), errors.LimitOverCeiling, ""),
        (lambda: problem(429, "quota_exceeded", "x"), errors.QuotaExceeded, "quota_exceeded"),
        (
            lambda: web.json_response({"message": "x", "errorCode": "NOMAD_OVERLOAD"}, status=500),
            errors.PoolExhausted,
            "pool_exhausted",
        ),
        (lambda: problem(503, "storage_error", "x"), errors.Busy, "storage_error"),
        (lambda: web.Response(status=500, text="<html>"), errors.ServerFailed, "server_failed"),
        (lambda: web.Response(status=302, headers={"Location": "/"}), errors.InvalidRequest, ""),
        (lambda: web.Response(text="no json"), errors.ProtocolViolation, "protocol_violation"),
        (lambda: web.json_response({"runnerId": 5}), errors.ProtocolViolation, ""),
    ],
)  # fmt: skip
async def test_answers_become_errors_of_their_own(
    client: Client, server: WireServer, answer: web.Response, kind: type, code: str
) -> None:
    server.answer = answer
    with pytest.raises(errors.AssayError) as caught:
        await client.create_runner("python")
    assert type(caught.value) is kind
    assert caught.value.code == (code or caught.value.code)
    assert server.requests == [("POST", "/api/v1/runners")], "nothing is tried twice"


async def test_who_is_too_quick_learns_when_again(client: Client, server: WireServer) -> None:
    server.answer = lambda: problem(429, "rate_limited", "x", **{"Retry-After": "7"})
    with pytest.raises(errors.RateLimited) as caught:
        await client.version()
    assert caught.value.retry_after_seconds == 7
    assert caught.value.retryable


async def test_a_server_that_drains_is_asked_again(client: Client, server: WireServer) -> None:
    answers = [problem(503, "draining", "x"), problem(503, "draining", "x")]

    def answer() -> web.Response:
        if answers:
            return answers.pop()
        server.answer = None
        return web.json_response("1.0")

    server.answer = answer
    assert await client.version() == "1.0"


async def test_nobody_at_the_address_is_unreachable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with Client(url, patience=Patience(request_seconds=0.2)) as client:
            with pytest.raises(errors.Unreachable, match="no server answers"):
                await client.version()


async def test_an_answer_that_does_not_come_is_given_up(client: Client, server: WireServer) -> None:
    runner = await client.create_runner("python")
    with pytest.raises(errors.ConnectionLost, match="in time"):
        await runner._http.call(
            "GET", runner._url("files", "raw", path="never"), answer=bytes, again=False,
            seconds=0.000_001,
        )  # fmt: skip


@pytest.mark.parametrize(
    "url", ["", "here", "ftp://x", "http://", "http://a:b@c", "http://x:none", "http://x:99999999"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        Client(url)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "ü"])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        Client("http://localhost:7200", token)
    assert token == "" or token not in str(caught.value)


async def test_tokens_are_in_no_repr(client: Client, runner: Runner) -> None:
    process = await runner.spawn("echo")
    shown = [client, runner, process, client._http, assay_client.connect("http://x", TOKEN)]
    await process.wait()
    await process.aclose()
    assert all(TOKEN not in repr(each) for each in shown)


async def test_paths_that_are_hostile_stay_one_part_of_the_address(
    client: Client, server: WireServer
) -> None:
    for name in ("../../version", "a/b", "a?b=c", "a#b", "%2e%2e"):
        with pytest.raises(errors.AssayError):
            await client.attach_runner(name).read("x")
    assert all(path != "/api/v1/version" for _, path in server.requests)


async def test_an_address_may_name_the_api_and_a_folder(server: WireServer) -> None:
    for suffix in ("", "/", "/api/v1", "/api/v1/"):
        async with Client(server.url + suffix, TOKEN) as client:
            assert await client.version() == "1.0"


async def test_errors_of_ones_own_within_a_block_stay_ones_own(runner: Runner) -> None:
    await runner.write({"x": "y"})
    for kind in (TimeoutError, BrokenPipeError):
        with pytest.raises(kind):
            async with runner.open("x"):
                raise kind
