"""One program in a sandbox of its own, once."""

import asyncio
from dataclasses import replace

import pytest

from assay.domain.errors import FileError, InvalidInput, LimitOverCeiling
from assay.domain.limits import ExecutionLimits
from assay.environments import bundled_folder, load
from assay.environments.model import Step, StepKind
from assay.environments.served import Blueprint
from assay.runners import FileToWrite, RunRequest, Steps
from assay.runners.events import RunFinished

from .conftest import NO_LIMITS, Server, environment, until


@pytest.fixture
async def language(start, monkeypatch) -> Server:
    """A language whose compiler says what it compiles, and whose programs echo."""
    server = await start(environments={"c": environment("c"), "bare": environment("bare")})
    folder = load(bundled_folder() / "c")
    folder = replace(
        folder,
        compile=Step(argv=("say", "compiling", "{source}"), limits=NO_LIMITS),
        run=Step(argv=("echo",), limits=NO_LIMITS),
    )
    resolve = server.resolve

    async def with_folder(name: str) -> Blueprint:
        made = await resolve(name)
        return replace(made, folder=folder) if name == "c" else made

    monkeypatch.setattr(server, "resolve", with_folder)
    server.runners._resolve = with_folder
    return server


async def test_a_source_is_compiled_and_run_and_nothing_stays(language: Server) -> None:
    request = RunRequest(source=b"int main", stdin=b"input")
    result = await language.runners.run_once("c", request)
    assert result.step is StepKind.RUN
    assert (result.stdout, result.outcome.code) == (b"input", 0)
    assert result.timings.wait > 0
    assert result.timings.compile > 0
    await until(lambda: language.stock.discarded)
    assert await language.driver.list() == []
    assert [event.outcome for event in language.told(RunFinished)] == ["exited"]


async def test_a_compiler_that_fails_is_the_result(language: Server, monkeypatch) -> None:
    resolve = language.runners._resolve

    async def failing(name: str) -> Blueprint:
        made = await resolve(name)
        step = Step(argv=("count", "1", "0"), limits=NO_LIMITS)
        return replace(made, folder=replace(made.folder, compile=step))

    monkeypatch.setattr(language, "resolve", failing)
    result = await language.runners.run_once("c", RunRequest(source=b"int main"))
    assert result.step is StepKind.COMPILE
    assert (result.stdout, result.outcome.code) == (b"0\n", 5)


async def test_a_compiler_that_says_anything_has_failed_where_that_is_asked_for(
    language: Server,
) -> None:
    for strict, step in ((False, StepKind.RUN), (True, StepKind.COMPILE)):
        steps = Steps(
            compile=Step(argv=("say", "{compile_args}", "err:{source}"), limits=NO_LIMITS),
            run=Step(argv=("say", "{name}", "{args}"), limits=NO_LIMITS),
            lists={"compile_args": ("-W",)},
            name="Main",
            strict=strict,
        )
        request = RunRequest(source=b"x", filename="x.c", args=("a",), steps=steps)
        result = await language.runners.run_once("c", request)
        assert result.step is step
        assert (result.stdout, result.stderr) == (
            (b"-W\n", b"x.c\n") if strict else (b"Main\na\n", b"")
        )


async def test_a_command_runs_with_its_files(language: Server) -> None:
    request = RunRequest(argv=("say", "a"), args=("b",), files=(FileToWrite(path="x/y"),))
    result = await language.runners.run_once("bare", request)
    assert result.stdout == b"a\nb\n"


async def test_output_is_kept_up_to_a_number_of_bytes(language: Server) -> None:
    request = RunRequest(argv=("flood", "100000"), output_bytes=1000)
    result = await language.runners.run_once("bare", request)
    assert (len(result.stdout), result.outcome.kind) == (1000, "output_limit")


async def test_nonsense_costs_no_sandbox(language: Server) -> None:
    over = ExecutionLimits(wall_seconds=61)
    for environment_name, request, error in (
        ("bare", RunRequest(source=b"x"), InvalidInput),
        ("c", RunRequest(), InvalidInput),
        ("c", RunRequest(source=b"x", argv=("a",)), InvalidInput),
        ("c", RunRequest(source=b"x", filename="../x.c"), InvalidInput),
        ("bare", RunRequest(argv=("say",), limits=over), LimitOverCeiling),
        ("none", RunRequest(argv=("say",)), InvalidInput),
    ):
        with pytest.raises(error):
            await language.runners.run_once(environment_name, request)
    assert language.connections == 0
    with pytest.raises(FileError):
        await language.runners.run_once(
            "bare", RunRequest(argv=("say",), files=(FileToWrite(path="/etc/x"),))
        )
    await until(lambda: language.stock.discarded)


async def test_a_request_that_is_given_up_leaves_no_sandbox(language: Server) -> None:
    running = asyncio.create_task(
        language.runners.run_once("bare", RunRequest(argv=("wait", "20")))
    )
    await until(lambda: language.connections)
    await asyncio.sleep(0.02)
    running.cancel()
    await asyncio.wait((running,))
    await until(lambda: language.stock.discarded)
    assert await language.driver.list() == []
