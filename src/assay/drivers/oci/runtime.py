"""OCI runtimes as data: what to call, and in what they differ."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeMissing

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime:
    """A program with the command line of runc: `PROGRAM [OPTIONS] run --bundle FOLDER ID`."""

    name: str
    """The driver's name, too."""
    program: str
    """A name on PATH, or a path."""
    package: str
    """Debian's package of it."""
    options: tuple[str, ...] = ()
    """Before the sub-command."""
    options_without_groups: tuple[str, ...] = ()
    """The same, where there are no control groups for it to use."""
    filter_file: str = ""
    """Where in its own folder it leaves the compiled seccomp filter, if it does."""
    filter_annotation: str = ""
    """The annotation by which it takes a compiled filter, rather than spend 5 ms on a new one."""

    @property
    def remedy(self) -> str:
        """The command that installs it."""
        return f"apt-get install {self.package}"

    def find(self) -> Path:
        """The program's path. Raises RuntimeMissing."""
        # Many users' PATH lacks the folders where distributions keep such programs.
        found = shutil.which(self.program) or shutil.which(self.program, path=_PATH)
        if found is None:
            raise RuntimeMissing(
                f"the program {self.program} is not on this machine; install it: {self.remedy}"
            )
        return Path(found)

    def version(self) -> str:
        """What the program says of itself, such as "1.8.1"; empty if it says nothing."""
        answer = subprocess.run(
            [self.find(), "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        words = answer.stdout.split("\n", 1)[0].split()
        return words[-1] if words else ""


def call(command: Sequence[str | Path], *, output: Path, keep: int, seconds: float) -> int | None:
    """Run a program and return its status, or None when it took too long and was killed.

    It keeps the file descriptor `keep`, and nothing else of ours: a NOTIFY_SOCKET in the
    environment, say, would find its way into the sandbox. Nor is any stream /dev/null: crun gives
    its standard streams to the sandbox's root, and it is the host's /dev/null that would be given.
    """
    nothing, end = os.pipe()
    os.close(end)
    try:
        with output.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=nothing,
                stdout=log,
                stderr=log,
                env={"PATH": _PATH},
                pass_fds=(keep,),
                start_new_session=True,
            )
    finally:
        os.close(nothing)
    # Popen.wait(timeout) looks every 16 ms or so, longer than all of this takes.
    ended = os.pidfd_open(process.pid)
    try:
        waiting = select.poll()
        waiting.register(ended, select.POLLIN)
        if not waiting.poll(seconds * 1000):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return None
    finally:
        os.close(ended)
    return process.wait()


CRUN = Runtime(
    name="crun",
    program="crun",
    package="crun",
    options=("--cgroup-manager=cgroupfs",),
    options_without_groups=("--cgroup-manager=disabled",),
    filter_file="seccomp.bpf",
    filter_annotation="run.oci.seccomp_bpf_data",
)
RUNC = Runtime(name="runc", program="runc", package="runc")
