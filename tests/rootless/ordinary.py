"""An ordinary user of the machine, made for these tests: no sudo, an empty home."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

CHECKOUT: Final = Path(__file__).parents[2]
GROUPS: Final = Path("/sys/fs/cgroup")
DELEGATED: Final = ("memory", "pids", "cpu", "cpuacct")
SECONDS: Final = 60
NEEDED: Final = ("useradd", "userdel", "newuidmap", "newgidmap", "crun")


@dataclass(kw_only=True)
class Ordinary:
    """A user who is not root, and what they run."""

    name: str
    uid: int
    home: Path
    state: Path
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def subordinate(self) -> range:
        for line in Path("/etc/subuid").read_text().splitlines():
            name, first, count = line.split(":")
            if name == self.name:
                return range(int(first), int(first) + int(count))
        return range(0)

    @property
    def variables(self) -> dict[str, str]:
        """What they find in their environment."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "ASSAY_STATE": str(self.state),
            "ASSAY_CONFIG": os.devnull,
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, *command: str | Path, **variables: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            cwd=self.home,
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*command, **variables)
        out, err = process.communicate(timeout=SECONDS)
        return subprocess.CompletedProcess(command, process.returncode, out.decode(), err.decode())

    def assay(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "assay", *arguments, **variables)

    def python(self, program: str, *arguments: str) -> str:
        """The output of a Python program that uses the package; fails when it does."""
        done = self.run(sys.executable, "-c", program, *arguments)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def write(self, name: str, text: str) -> Path:
        path = self.home / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def processes(self) -> list[str]:
        """What still runs as this user, or as one of their subordinate ids."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                owner = folder.stat().st_uid
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state not in "ZX" and (owner == self.uid or owner in self.subordinate):
                    found.append(f"{folder.name} {(folder / 'comm').read_text().strip()}")
        return found

    def left_over(self) -> list[str]:
        found = [f"process {each}" for each in self.processes()]
        found += [f"range {link}" for link in self.state.glob("users/*")]
        found += [f"folder {path}" for path in self.state.glob("*/sandboxes/*")]
        found += [f"folder {path}" for path in self.state.glob("*/run/*")]
        found += [f"owner {path}" for path in self.state.glob("owners/[0-9a-f]*")]
        found += [f"group {path}" for path in GROUPS.glob(f"*/assay-{self.uid}/*/")]
        return found


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until it holds, and return what it says then."""
    deadline = time.monotonic() + seconds
    while not (said := holds()):
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.02)
    return said


def _missing() -> str:
    if os.geteuid() != 0:
        return "root makes the ordinary user"
    if absent := [name for name in NEEDED if shutil.which(name) is None]:
        return f"missing: {', '.join(absent)}"
    for folder in (CHECKOUT, Path(sys.executable).parent):
        if any(each.stat().st_mode & 0o001 == 0 for each in (folder, *folder.parents)):
            return f"an ordinary user can't read {folder}"
    return ""


@contextlib.contextmanager
def ordinary_user(*options: str) -> Iterator[Ordinary]:
    """A user that is gone afterwards, with all that was theirs."""
    if missing := _missing():
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    name = f"assay-{secrets.token_hex(4)}"
    home = Path(tempfile.mkdtemp(prefix="assay-home-"))
    subprocess.run(
        ["useradd", "--home-dir", str(home), "--no-create-home", "--shell", "/bin/sh", *options,
         name], check=True, capture_output=True,
    )  # fmt: skip
    try:
        uid = pwd.getpwnam(name).pw_uid
        home.chmod(0o700)
        os.chown(home, uid, uid)
        user = Ordinary(name=name, uid=uid, home=home, state=home / "state")
        yield user
        left = _what_stays(user)
        for process in user.started:
            _end(process)
        assert left == []
    finally:
        subprocess.run(["userdel", name], check=False, capture_output=True)
        shutil.rmtree(home)


def _what_stays(user: Ordinary, seconds: float = 20.0) -> list[str]:
    """What is left of theirs, but for what is about to end with who made it."""
    deadline = time.monotonic() + seconds
    while (left := user.left_over()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@contextlib.contextmanager
def delegated_to(user: Ordinary) -> Iterator[None]:
    """Control groups that the administrator gave to a user; only those of version 1 can be here."""
    folders = [GROUPS / name / f"assay-{user.uid}" for name in DELEGATED]
    if not all(folder.parent.is_dir() for folder in folders):
        pytest.skip("this machine has no control groups of version 1")
    try:
        for folder in folders:
            folder.mkdir()
            for path in (folder, *folder.iterdir()):
                os.chown(path, user.uid, user.uid)
        yield
    finally:
        _what_stays(user)  # a group with a process in it can't be removed
        for folder in folders:
            folder.rmdir()


def said(done: subprocess.CompletedProcess[str]) -> Any:
    """The one line of JSON on standard output."""
    assert done.stdout, done.stderr[-2000:]
    return json.loads(done.stdout)
