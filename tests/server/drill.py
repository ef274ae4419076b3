"""Everything that grades is killed at random, while submissions are graded: the site, and its end.

A site is one server on SQLite, or on PostgreSQL three that share one database: one that takes in,
and two that grade. Whatever dies is started again at once, as systemd would do it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from server_process import ServerProcess, free_port
from tests.storage.postgres import Postgres

from assay.cluster.view import GRACE_SECONDS, LAPSED_SECONDS

EACH: Final = 5
"""Submissions of one learner: as many as the task takes, so one that was charged twice shows."""
SUBMITTERS: Final = 8
KILLED_AT_THE_START: Final = 0.15
KILLED_UNTIL: Final = 0.7
"""Of all submissions are over: the last ones have peace, or a short drill is a long one."""
TASK: Final = f"""\
title = "Add"
environment = "python"
files = ["add.py"]
rules = {{ attempts = {EACH} }}
sandbox = {{ memory = "96 MiB" }}

[limits]
wall_seconds = 30
cpu_seconds = 0.5

[[parts]]
id = "small"
kind = "cases"
cases = [{{ name = "small", stdin = "1 2", expected = "3" }}]

[[parts]]
id = "hidden"
kind = "cases"
hidden = true
cases = [{{ name = "secret", stdin = "20 22", expected = "42" }}]
"""
PATH: Final = "/api/v1/courses/drill/tasks/add/submissions"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A program whose worth is known."""

    name: str
    program: str
    grade: float
    verdicts: tuple[str, str]
    """Of the test that is shown, and of the hidden one."""


KINDS: Final = (
    Kind(name="right", program="print(sum(map(int, input().split())))", grade=100.0,
         verdicts=("passed", "passed")),
    Kind(name="half", program="print(3)", grade=50.0, verdicts=("passed", "failed")),
    Kind(name="wrong", program="print('no')", grade=0.0, verdicts=("failed", "failed")),
    Kind(name="right again", program="a, b = input().split()\nprint(int(a) + int(b))", grade=100.0,
         verdicts=("passed", "passed")),
    Kind(name="endless", program="while True: pass", grade=0.0,
         verdicts=("timed_out", "timed_out")),
)  # fmt: skip


class Kept:
    """A server that is started again whenever it is dead, until it may rest."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self._serves = False
        self._resting = False
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while not self._resting:
            process = self.server.process
            if process is None:
                await asyncio.to_thread(self.server.launch)
            elif process.poll() is not None:
                self._bury()
            else:
                await self._listen()
            await asyncio.sleep(0.1)

    async def _listen(self) -> None:
        """Take what it says, lest it wait for a reader."""
        assert self.server.process is not None
        assert self.server.process.stdout is not None
        os.set_blocking(self.server.process.stdout.fileno(), False)
        self._serves = self._serves or bool(self.server.process.stdout.read())

    def _bury(self) -> None:
        process, self.server.process = self.server.process, None
        assert process is not None
        assert process.stdout is not None
        process.stdout.close()
        self._serves = False

    def kill(self, chance: random.Random) -> bool:
        """As a crash does; whether there was anything to kill.

        While it starts, only now and then: or a slow machine's would never come to grade anything.
        """
        process = self.server.process
        if process is None or process.poll() is not None:
            return False
        if not self._serves and chance.random() > KILLED_AT_THE_START:
            return False
        process.kill()
        return True

    async def rest(self) -> None:
        """Let it live or be dead from now on."""
        self._resting = True
        await self._keeping
        process = self.server.process
        if process is not None and process.poll() is not None:
            self._bury()


@dataclass(kw_only=True)
class Site:
    """All servers, and what they share."""

    state: Path
    database: str
    postgres: Postgres | None = None
    kept: list[Kept] = field(default_factory=list)

    @property
    def front(self) -> ServerProcess:
        return self.kept[0].server

    def server(self, *, graders: int | None) -> ServerProcess:
        port = free_port()
        arguments = ["--courses", str(self.state / "drill"), "--database", self.database]
        if graders is not None:
            arguments += ["--graders", str(graders), "--advertise", f"127.0.0.1:{port}",
                          "--allow-host-images"]  # fmt: skip
        return ServerProcess(
            state=self.state, environments=("python=2",), arguments=tuple(arguments), port=port,
            destroys=False,
        )  # fmt: skip

    def write_course(self) -> None:
        folder = self.state / "drill"
        (folder / "add").mkdir(parents=True)
        (folder / "course.toml").write_text('title = "A drill"')
        (folder / "add" / "task.toml").write_text(TASK)

    # --- what is killed ---

    def kill_server(self, chance: random.Random) -> bool:
        """One of them, whatever it does."""
        return chance.choice(self.kept).kill(chance)

    def kill_sandbox(self, chance: random.Random) -> bool:
        """Process 1 of one: with it the kernel ends all that is in there."""
        found = firsts_of(self.front.sandboxes())
        with contextlib.suppress(ProcessLookupError):
            if found:
                os.kill(chance.choice(found), signal.SIGKILL)
                return True
        return False

    async def kill_database(self, chance: random.Random) -> bool:
        """PostgreSQL's first process, which is started again, or one that serves a connection:
        then all the others are ended by itself. SQLite is in the server, and dies with that.
        """
        if self.postgres is None:
            return False
        await asyncio.to_thread(self.postgres.kill, chance)
        return True


def firsts_of(sandboxes: set[str]) -> list[int]:
    """The agents of these, as the host calls them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            names = _line(path / "status", "NSpid:")
            if names[1:] == ["1"]:  # of a sandbox, and not of an execution in it
                groups = (path / "cgroup").read_text()
                if any(f"/{sandbox_id}" in groups for sandbox_id in sandboxes):
                    found.append(int(path.name))
    return sorted(found)


def _line(path: Path, label: str) -> list[str]:
    for line in path.read_text().splitlines():
        if line.startswith(label):
            return line.split()[1:]
    return []


@contextlib.asynccontextmanager
async def site(postgres: Postgres | None) -> AsyncIterator[Site]:
    """Its servers live during the block; afterwards nothing may be left of any sandbox."""
    folder = Path(tempfile.mkdtemp(prefix="assay-drill-"))
    url = f"sqlite:///{folder}/server.db" if postgres is None else postgres.empty_database()
    made = Site(state=folder, database=url, postgres=postgres)
    made.write_course()
    graders = [None] if postgres is None else [0, 2, 2]
    try:
        made.kept = [Kept(made.server(graders=each)) for each in graders]
        yield made
        await asyncio.gather(*(each.rest() for each in made.kept))
        there = [each.server for each in made.kept if each.server.process is not None]
        ends = await asyncio.gather(*(asyncio.to_thread(each.stop) for each in there))
        assert set(ends) <= {0, -signal.SIGTERM}, ends  # that one was only just starting
        await asyncio.to_thread(_clear, made)
    finally:
        for each in made.kept:
            await each.rest()
            each.server.end()
        shutil.rmtree(folder)


def _clear(site: Site) -> None:
    """Let a last server clean up after all of them."""
    last = site.server(graders=None if site.postgres is None else 0)
    last.destroys = True
    last.seen = set().union(*(each.server.seen for each in site.kept))
    left: list[str] = []
    # One that was killed a moment ago is given up when it has been silent for long enough, as seen
    # by who looks all the time: on a busy machine that begins anew.
    silent = LAPSED_SECONDS + GRACE_SECONDS
    for seconds in (0.0, silent + 2.0, 3 * silent):
        last.start()
        time.sleep(seconds)
        assert last.stop() == 0
        left = last.left_over()
        if not left:
            return
    raise AssertionError(left)


# --- who hands in, and who kills ---


@dataclass(kw_only=True)
class Drill:
    """One run; all that is random comes from `seed`."""

    site: Site
    submissions: int
    seed: int
    pauses: tuple[float, float] = (0.2, 1.5)
    """Seconds between two that are killed: something has to be graded meanwhile."""
    told: Callable[[str], None] = print
    deserved: dict[str, Kind] = field(default_factory=dict)
    """By the id of a submission."""
    killed: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0

    def learner(self, number: int) -> str:
        return f"learner-{number // EACH}"

    async def run(self) -> list[dict[str, Any]]:
        """Hand in, kill, and wait; all submissions as they are in the end."""
        chance = random.Random(self.seed)
        killing = asyncio.create_task(self._kill_for_ever(chance))
        try:
            numbers = iter(range(self.submissions))
            await asyncio.gather(*(self._submitter(numbers) for _ in range(SUBMITTERS)))
            return await self._until_all_are_over(killing)
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)

    async def _submitter(self, numbers: Any) -> None:
        async with aiohttp.ClientSession(self.site.front.url) as http:
            for number in numbers:
                await self._hand_in(http, number)

    async def _hand_in(self, http: aiohttp.ClientSession, number: int) -> None:
        """Ask until there is an answer, as clients do; the key says that it is the same one."""
        kind = KINDS[number % len(KINDS)]
        body = {"learner": self.learner(number), "files": {"add.py": kind.program},
                "key": f"key-{number}"}  # fmt: skip
        while True:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with http.post(PATH, json=body, timeout=aiohttp.ClientTimeout(20)) as answer:
                    said = await answer.json(content_type=None)
                    if answer.status == 202:
                        self.deserved[said["id"]] = kind
                        return
                    assert answer.status >= 500, (answer.status, said)
            self.asked_again += 1
            await asyncio.sleep(0.1)

    async def _kill_for_ever(self, chance: random.Random) -> None:
        ways = ["sandbox"] * 6 + ["server"] * 2 + ["database"]
        while True:
            await asyncio.sleep(chance.uniform(*self.pauses))
            way = chance.choice(ways)
            if way == "sandbox":
                done = self.site.kill_sandbox(chance)
            elif way == "server":
                done = self.site.kill_server(chance)
            else:
                done = await self.site.kill_database(chance)
            self.killed[way] += done

    async def _until_all_are_over(self, killing: asyncio.Task[None]) -> list[dict[str, Any]]:
        while True:
            found = await self._all()
            over = sum(each["state"] not in ("waiting", "leased") for each in found)
            self.told(f"{over} of {self.submissions} are over, killed: {dict(self.killed)}")
            if over >= KILLED_UNTIL * self.submissions:
                killing.cancel()
            if over == self.submissions or len(found) > self.submissions:
                return found
            await asyncio.sleep(1)

    async def _all(self) -> list[dict[str, Any]]:
        while True:
            found: dict[str, dict[str, Any]] = {}
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, KeyError):
                async with aiohttp.ClientSession(self.site.front.url) as http:
                    before = ""
                    while page := await self._page(http, before):
                        found |= {each["id"]: each for each in page}
                        before = f"&before={page[-1]['id']}"
                return list(found.values())
            await asyncio.sleep(0.2)

    async def _page(self, http: aiohttp.ClientSession, before: str) -> list[dict[str, Any]]:
        async with http.get(f"/api/v1/submissions?most=1000{before}") as answer:
            page: list[dict[str, Any]] = (await answer.json())["submissions"]
            return page
