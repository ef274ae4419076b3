"""Databases for the tests: SQLite's files, and a PostgreSQL server of the tests' own."""

import asyncio
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from assay.storage.database import Storage
from assay.storage.events import Event

Open = Callable[..., Awaitable[Storage]]


class Postgres:
    """A server in a folder of its own, on a socket in that folder; never the system's."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        # PostgreSQL refuses to run as root, and must not outlive the tests that are killed.
        self._become = ["setpriv", "--pdeathsig=QUIT"]
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            ids = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
            self._become += ids

    def initialise(self) -> None:
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-U", "assay"]
        self._call("initdb", *options, "-D", str(self.folder / "data"))

    def start(self) -> None:
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "30",
            "shared_buffers": "16MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._become, self._programs / "postgres", "-D", self.folder / "data", *options],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            assert self._process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        asked = [self._programs / "pg_isready", "-q", "-h", self.folder]
        return subprocess.run(asked, check=False).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it in order, and its connections at once; SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def empty_database(self) -> str:
        """The URL of a database without a table."""
        self.run_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        return f"postgresql://assay@/postgres?host={self.folder}"

    def run_sql(self, statement: str) -> str:
        options = ["-h", str(self.folder), "-U", "assay", "-d", "postgres", "-qtA", "-c", statement]
        return self._call("psql", *options)

    def _call(self, program: str, *arguments: str) -> str:
        command = [*self._become, str(self._programs / program), *arguments]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, cwd="/", env={"LC_ALL": "C"}
        ).stdout


def find_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    beside = shutil.which("postgres")
    return Path(beside).resolve().parent if beside else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    programs = find_programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL must be there: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="assay-pg-", dir="/tmp"))
    server = Postgres(programs, folder)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    return postgres.empty_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet, or is empty."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/assay.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def open_storage(events: list[Event]) -> AsyncIterator[Open]:
    """Open storages that are closed at the end of the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def open_one(url: str) -> Storage:
            storage = await Storage.open(url, on_event=events.append)
            stack.push_async_callback(storage.aclose)
            return storage

        yield open_one


@pytest.fixture
async def storage(url: str, open_storage: Open) -> Storage:
    return await open_storage(url)


@pytest.fixture(autouse=True)
async def nothing_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """No test leaves a task, a descriptor or a connection behind."""
    if "postgres" in request.fixturenames:
        request.getfixturevalue("postgres")
    tasks = asyncio.all_tasks()
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    yield
    for _ in range(20):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    assert not left, f"tasks are left: {left}"
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors
