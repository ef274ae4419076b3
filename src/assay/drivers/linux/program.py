"""Programs that make sandboxes for us: where they are, and how they are called."""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from assay.domain.errors import RuntimeMissing

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT: Final = MappingProxyType({"PATH": _PATH})


def find(program: str, remedy: str) -> Path:
    """Its path, from a name on PATH or a path. Raises RuntimeMissing, which gives the remedy."""
    # Many users' PATH lacks the folders where distributions keep such programs.
    found = shutil.which(program) or shutil.which(program, path=_PATH)
    if found is None:
        raise RuntimeMissing(f"the program {program} is not on this machine; install it: {remedy}")
    return Path(found)


def call(
    command: Sequence[str | Path],
    *,
    output: Path,
    keep: int,
    seconds: float,
    environment: Mapping[str, str] = _ENVIRONMENT,
) -> int | None:
    """Run a program and return its status, or None when it took too long and was killed.

    It keeps the file descriptor `keep`, and nothing else of ours: a NOTIFY_SOCKET in the
    environment, say, would find its way into the sandbox. Nor is any stream /dev/null: crun gives
    its standard streams to the sandbox's root, and it is the host's /dev/null that would be given.
    """
    pid = _spawn(command, output, keep, environment)
    ended = os.pidfd_open(pid)
    try:
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        in_time = waiting.poll(seconds * 1000)
        if not in_time:
            os.killpg(pid, signal.SIGKILL)
    finally:
        os.close(ended)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) if in_time else None


def _spawn(
    command: Sequence[str | Path], output: Path, keep: int, environment: Mapping[str, str]
) -> int:
    nothing, end = os.pipe()
    os.close(end)
    try:
        with output.open("ab") as log:
            # As number 3: what runsc leaves behind gets other descriptors by numbers from 3 on, and
            # with a number above those it would keep this one for good.
            places = {0: nothing, 1: log.fileno(), 2: log.fileno(), 3: keep}
            return os.posix_spawn(
                command[0],
                [str(word) for word in command],
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, ours, its) for its, ours in places.items()],
                setsid=True,
            )
    finally:
        os.close(nothing)
