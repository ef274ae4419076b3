"""Runs a command on a Linux of its own, where control groups are of version 2 alone.

    python tests/cgroup2/machine.py [--seconds N] [--results FOLDER] COMMAND...    or: ./dev uml …

Debian's package user-mode-linux is a kernel that runs as an ordinary program. It gets the host's
files, to be read only, and memory where something must be written; FOLDER, if any, is its
/run/results, and what the command writes there stays. The command has this environment, this
working folder, no input, and is root; its output and exit status become ours, or 124 when it took
too long, and 125 when the machine failed.

The kernel is the process 1 of a process namespace that dies with us, even by SIGKILL, and keeps
its files in a mount namespace that goes with it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
CHECKOUT: Final = HERE.parent.parent
STDOUT, STDERR, ENDED, BROKEN = 1, 2, 3, 4
KERNEL_LOG_MOST: Final = 65536
TIMED_OUT, FAILED = 124, 125


class MachineFailed(Exception):
    """The machine did not come up, or ended before its command did; the text says what it said."""


class MachineTimedOut(MachineFailed):
    """The command took too long, and the machine was ended."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a machine is for."""

    command: Sequence[str]
    seconds: float
    memory_mib: int = 2048
    results: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def request(self) -> bytes:
        """What process 1 in the machine is told."""
        environment = {
            "ASSAY_IMAGES": "/run/assay/images",
            **self.environment,
            "HOME": "/run/home",
            "TMPDIR": "/tmp",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        request = {
            "command": list(self.command),
            "folder": str(Path.cwd()),
            "folders": [str(CHECKOUT), str(Path.cwd())],
            "environment": environment,
            "results": str(self.results.resolve()) if self.results else "",
        }
        return json.dumps(request).encode()


def missing() -> str:
    """Why there can be no machine here, or nothing."""
    if shutil.which("linux.uml") is None:
        return "user-mode-linux is needed: apt-get install user-mode-linux"
    return "" if os.geteuid() == 0 else "root is needed, to leave nothing behind"


def run(task: Task, output: Callable[[int, bytes], None]) -> int:
    """Run a command to its end and return its exit status.

    `output` gets the number of the stream (1 or 2) and bytes, as they come. Raises MachineFailed.
    """
    deadline = time.monotonic() + task.seconds
    with _booted(task) as (frames, log):
        last_words = bytearray()
        rest = bytearray()
        for source, data in _arriving((frames, log), deadline):
            if source == log:
                last_words += data
                del last_words[:-KERNEL_LOG_MOST]
                continue
            rest += data
            for kind, content in _frames(rest):
                if kind == ENDED:
                    return content[0]
                if kind == BROKEN:
                    raise MachineFailed(content.decode())
                output(kind, content)
    raise MachineFailed(
        f"the machine ended before its command:\n{last_words.decode(errors='replace')}"
    )


@contextmanager
def _booted(task: Task) -> Iterator[tuple[int, int]]:
    """A machine that runs, and two descriptors to read from: frames, and the kernel's log."""
    frames, frames_end = os.pipe()
    log, log_end = os.pipe()
    ends = (frames_end, log_end)
    try:
        process = subprocess.Popen(
            _command_line(task, frames_end, log_end),
            stdin=subprocess.PIPE, stdout=log_end, stderr=log_end,
            pass_fds=ends, start_new_session=True,
        )  # fmt: skip
    finally:
        for end in ends:
            os.close(end)
    try:
        assert process.stdin is not None
        process.stdin.write(task.request())
        process.stdin.close()
        yield frames, log
    finally:
        process.kill()  # and with it, process 1 of its namespace, and with that all others
        process.wait()
        for end in (frames, log):
            _wait_for_the_end(end)


def _wait_for_the_end(end: int) -> None:
    """Of all processes that have the other end."""
    while os.read(end, 65536):
        pass
    os.close(end)


def _command_line(task: Task, frames: int, log: int) -> list[str]:
    # On one processor: the kernel and its processes take turns anyway, and waking each other up on
    # another processor made all of it four times as slow.
    processor = random.choice(sorted(os.sched_getaffinity(0)))
    return [
        "taskset", "--cpu-list", str(processor),
        "setpriv", "--pdeathsig", "KILL",
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "--",
        "sh", str(HERE / "start.sh"),
        f"mem={task.memory_mib}M", "umid=machine", "uml_dir=/dev/shm",
        "rootfstype=hostfs", "rootflags=/", "ro",
        f"con0=null,fd:{log}", "con=null", f"ssl0=null,fd:{frames}", "ssl=null",
        "quiet",
        # The kernel takes its words apart at blanks, unless they are quoted.
        "init=/usr/bin/python3", "--", "-I", "-S", f'"{HERE / "guest.py"}"',
    ]  # fmt: skip


def _arriving(sources: Sequence[int], deadline: float) -> Iterator[tuple[int, bytes]]:
    """Whatever comes, and from which; until all have ended."""
    with selectors.DefaultSelector() as ready:
        for source in sources:
            ready.register(source, selectors.EVENT_READ)
        while ready.get_map():
            found = ready.select(max(0.0, deadline - time.monotonic()))
            if not found:
                raise MachineTimedOut("the command took too long")
            for key, _ in found:
                if data := os.read(key.fd, 65536):
                    yield key.fd, data
                else:
                    ready.unregister(key.fd)


def _frames(data: bytearray) -> Iterator[tuple[int, bytes]]:
    """Take whole frames from the front of `data`."""
    while len(data) >= 5:
        kind, length = struct.unpack_from(">BI", data)
        if len(data) < 5 + length:
            return
        content = bytes(data[5 : 5 + length])
        del data[: 5 + length]
        yield kind, content


def _write(stream: int, content: bytes) -> None:
    file = sys.stdout.buffer if stream == STDOUT else sys.stderr.buffer
    file.write(content)
    file.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3600.0, help="then it is ended (3600)")
    parser.add_argument("--memory", type=int, default=2048, help="of the machine, in MiB (2048)")
    parser.add_argument("--results", type=Path, help="a folder that it may write to")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    given = parser.parse_args()
    if not given.command:
        parser.error("name a command")
    if why := missing():
        print(f"machine: {why}", file=sys.stderr)
        return FAILED
    task = Task(
        command=given.command, seconds=given.seconds, memory_mib=given.memory, results=given.results
    )
    try:
        return run(task, _write)
    except MachineFailed as error:
        print(f"machine: {error}", file=sys.stderr)
        return TIMED_OUT if isinstance(error, MachineTimedOut) else FAILED


if __name__ == "__main__":
    sys.exit(main())
