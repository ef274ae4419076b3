"""Queues over both databases, and workers that are processes of their own."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.storage.conftest import events, nothing_left, postgres, postgres_url, url

from assay.domain.submission import NewSubmission
from assay.grading.submissions import Submissions
from assay.storage.events import Event

__all__ = ["events", "nothing_left", "postgres", "postgres_url", "url"]

Open = Callable[[str], Awaitable[Submissions]]


def made(learner: str = "ada", **more: object) -> NewSubmission:
    """A submission whose content says whose it is."""
    known: dict[str, object] = {"course": "algebra", "task": "sum", "content": learner.encode()}
    return NewSubmission(learner=learner, **{**known, **more})  # type: ignore[arg-type]


@pytest.fixture
async def open_submissions(events: list[Event]) -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(url: str) -> Submissions:
            opened = await Submissions.open(url, on_event=events.append)
            stack.push_async_callback(opened.aclose)
            return opened

        yield open_one


@pytest.fixture
async def submissions(url: str, open_submissions: Open) -> Submissions:
    return await open_submissions(url)


WORKER = """
import asyncio, contextlib, json, signal, sys
from assay.domain.submission import KeptResult
from assay.grading.submissions import Submissions
from assay.grading.worker import Worker

over = asyncio.Event()

async def grade(work):
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(over.wait(), float(sys.argv[2]))
    print("graded", work.submission.id, flush=True)
    grade = len(work.content)
    result = json.dumps({"grade": grade}).encode()
    return KeptResult(result=result, verdict="partial", grade=float(grade))

async def main():
    submissions = await Submissions.open(sys.argv[1])
    worker = Worker(submissions, grade, slots=int(sys.argv[3]))
    loop = asyncio.get_running_loop()

    def stop():
        worker.stop()
        loop.call_later(0.2, over.set)  # what it has ends soon, however long it was to take

    loop.add_signal_handler(signal.SIGTERM, stop)
    print("ready", flush=True)
    await worker.run()
    await submissions.aclose()

asyncio.run(main())
"""

Spawn = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def spawn_worker(url: str) -> AsyncIterator[Spawn]:
    """Start workers in processes, which are killed at the end of the test."""
    started: list[asyncio.subprocess.Process] = []

    async def spawn(*, seconds: float = 0.01, slots: int = 4) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, url, str(seconds), str(slots),
            stdout=asyncio.subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    yield spawn
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]
