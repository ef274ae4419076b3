"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


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

    def kill(self, chance: random.Random) -> None:
        """`kill -9` of its first process, which comes back, or of one that serves a connection.

        After the second one it ends all connections itself, and repairs what was written.
        """
        assert self._process is not None
        serving = _children(self._process.pid)
        if serving and chance.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(serving), signal.SIGKILL)
            return
        self._process.kill()
        self._process.wait(30)
        for each in serving:  # they notice it themselves, a moment later
            _wait_for(each)
        self.start()

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


def _children(parent: int) -> list[int]:
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(each) for each in found]


def _wait_for(pid: int) -> None:
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} of PostgreSQL goes on"
        time.sleep(0.02)


def find_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    beside = shutil.which("postgres")
    return Path(beside).resolve().parent if beside else None


@contextmanager
def postgres_of_tests() -> Iterator[Postgres]:
    """One for tests, which are skipped where it can't be, and fail where CI says that it can."""
    programs = find_programs()
    if programs is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL must be there: apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with running_postgres(programs) as server:
        yield server


@contextmanager
def running_postgres(programs: Path) -> Iterator[Postgres]:
    """One that is there for the block."""
    folder = Path(tempfile.mkdtemp(prefix="assay-pg-", dir="/tmp"))
    server = Postgres(programs, folder)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(folder)
