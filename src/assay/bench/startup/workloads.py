"""What is executed in the life of a sandbox: a word, a server, small files, a database."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from assay.agent.execution import Execution
from assay.agent.ports import open_port
from assay.agent.session import Session
from assay.bench.subject import ENVIRONMENT, Unexpected, require_success
from assay.domain.command import Command
from assay.domain.limits import ExecutionLimits

_LIMITS: Final = ExecutionLimits(wall_seconds=60, cpu_seconds=60)
_PYTHON: Final = "/usr/bin/python3"
_PORT: Final = 8000
_HELLO: Final = 'print("Hello, world!")'
_SERVER: Final = f"""
import http.server
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Hello, world!")
server = http.server.HTTPServer(("127.0.0.1", {_PORT}), Page)
print("ready", flush=True)
server.serve_forever()
"""
_REQUEST: Final = b"GET / HTTP/1.0\r\n\r\n"
_FILES: Final = """
import os
for folder in range(10):
    os.mkdir(f"folder-{folder}")
    for number in range(100):
        with open(f"folder-{folder}/{number}", "wb") as file:
            file.write(b"x" * 1024)
read = 0
for folder, _, names in os.walk("."):
    for name in names:
        with open(os.path.join(folder, name), "rb") as file:
            read += len(file.read())
assert read >= 1000 * 1024, read
"""
_DATABASE: Final = """
import random, sqlite3
random.seed(1)
database = sqlite3.connect("big.sqlite")
database.execute("create table answers (learner integer, answer text)")
rows = ((random.randrange(10**6), "x" * 480) for _ in range(20000))
database.executemany("insert into answers values (?, ?)", rows)
database.execute("create index by_learner on answers (learner)")
database.commit()
for _ in range(2000):
    low = random.randrange(10**6)
    database.execute("select count(*), max(answer) from answers where learner between ? and ?",
                     (low, low + 500)).fetchone()
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """Something to execute; `run` returns the seconds that it took."""

    name: str
    what: str
    """For who reads the table."""
    run: Callable[[Session], Awaitable[float]]


async def _hello(session: Session) -> float:
    return await _program(session, _HELLO)


async def _files(session: Session) -> float:
    return await _program(session, _FILES)


async def _database(session: Session) -> float:
    return await _program(session, _DATABASE)


async def _program(session: Session, source: str) -> float:
    began = time.perf_counter()
    completed = await session.run(_command(source))
    seconds = time.perf_counter() - began
    require_success(completed, "Python")
    return seconds


def _command(source: str) -> Command:
    return Command(argv=(_PYTHON, "-c", source), environment=ENVIRONMENT, limits=_LIMITS)


async def _reply(session: Session) -> float:
    """From the start of a server to the first reply, through a tunnel to its port."""
    command = _command(_SERVER)
    began = time.perf_counter()
    execution = await session.start(command)
    try:
        await _said_ready(execution)
        stream = await open_port(session.agent, _PORT)
        try:
            await stream.write(_REQUEST)
            reply = await stream.read(4096)
            seconds = time.perf_counter() - began
        finally:
            await stream.aclose()
        if not reply.startswith(b"HTTP/1.0 200"):
            raise Unexpected("the server in the sandbox gave no page", detail=repr(reply[:200]))
    finally:
        await execution.cancel()
        await session.conclude(execution, command)
    return seconds


async def _said_ready(execution: Execution) -> None:
    said = b""
    async for chunk in execution.output():
        said += chunk.data
        if b"ready" in said:
            return
    raise Unexpected("the server in the sandbox ended", detail=repr(said[-1000:]))


WORKLOADS: Final = (
    Workload(name="hello world", what="Python says hello", run=_hello),
    Workload(
        name="HTTP first reply", run=_reply,
        what="a server in Python begins, and answers its first request through the agent's tunnel",
    ),
    Workload(
        name="many small files", run=_files,
        what="1,000 files of 1 KiB in 10 folders are written, found and read",
    ),
    Workload(
        name="big database file", run=_database,
        what="SQLite: 20,000 rows with an index, 10 MB; 2,000 questions in random order",
    ),
)  # fmt: skip
