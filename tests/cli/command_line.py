"""The command line as its users have it: a process of its own, with real sandboxes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.drivers.linux.folder import SandboxFolder

SECONDS = 60


@dataclass(kw_only=True)
class Ended:
    """A command that has ended."""

    status: int
    stdout: bytes
    stderr: bytes

    @property
    def complaint(self) -> str:
        """The one line that an own failure consists of."""
        lines = self.stderr.decode().splitlines()
        assert len(lines) == 1, lines[-10:]
        assert lines[0].startswith("assay: ")
        assert "Traceback" not in lines[0]
        return lines[0]

    @property
    def json(self) -> Any:
        lines = self.stdout.splitlines()
        assert len(lines) == 1, lines
        return json.loads(lines[0])


@dataclass(kw_only=True)
class Assay:
    """Runs `python -m assay` in a working folder, with a state folder that other tests share."""

    state: Path
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ASSAY_")}
        return {
            **inherited,
            "ASSAY_STATE": str(self.state),
            "ASSAY_CONFIG": os.devnull,
            **self.variables,
        }

    def command(self, *arguments: str | Path) -> list[str]:
        return [sys.executable, "-m", "assay", *map(str, arguments)]

    def __call__(
        self, *arguments: str | Path, stdin: bytes = b"", seconds: float = SECONDS
    ) -> Ended:
        ended = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            cwd=self.folder,
            env=self.environ,
            timeout=seconds,
            check=False,
        )
        return Ended(status=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[bytes]:
        standard: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ,
            start_new_session=True,
            **{**standard, **options},
        )
        self.started.append(process)
        return process

    def end_all(self) -> None:
        """For a test that failed in the middle: nothing of it goes on."""
        for process in self.started:
            end_group(process)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def sandboxes(self, driver: str = "crun") -> list[str]:
        folder = self.state / driver / "sandboxes"
        return sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []

    def agent_pid(self, driver: str = "crun") -> int:
        """The agent of the only sandbox there is, as the host numbers it."""
        (sandbox_id,) = self.sandboxes(driver)
        process = SandboxFolder(self.state / driver / "sandboxes" / sandbox_id).process()
        assert process is not None
        return process.pid

    def left_over(self) -> list[str]:
        """Whatever sandboxes of this state folder have left on the host."""
        found = [f"user range {link.name}" for link in (self.state / "users").glob("*")]
        for folder in ("sandboxes", "run"):
            found += [f"folder {path}" for path in self.state.glob(f"*/{folder}/*")]
        found += [f"owner {path}" for path in self.state.glob("owners/[0-9a-f]*")]
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        found += [f"mount {line}" for line in mounts if f"{self.state}/" in line]
        return found


def until(holds: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.02)


def read_until(process: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    """Read standard output up to and with `wanted`."""
    assert process.stdout is not None
    got = b""
    while wanted not in got:
        data = os.read(process.stdout.fileno(), 65536)
        assert data, got
        got += data
    return got


def finish(process: subprocess.Popen[bytes], seconds: float = SECONDS) -> Ended:
    stdout, stderr = process.communicate(timeout=seconds)
    return Ended(status=process.returncode, stdout=stdout or b"", stderr=stderr or b"")


def peak_memory(pid: int) -> int:
    """Of a running process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """For a test that failed in the middle: nothing of it goes on."""
    for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0 if number == signal.SIGTERM else 10)
    process.wait()


def state_of(pid: int) -> str:
    """The letter of `ps`; Z for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
