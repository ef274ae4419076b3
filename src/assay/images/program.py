"""Run somebody else's program: a deadline, an ear for silence, and an end for all it started."""

from __future__ import annotations

import os
import pwd
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from assay.domain.errors import Unavailable

_TICK_SECONDS: Final = 0.1
_CHUNK: Final = 64 * 1024
_MOST_OUTPUT_BYTES: Final = 16 * 1024 * 1024
"""Of standard output; nothing that is asked for is nearly so long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to wait for a program, and how long while nothing at all comes."""

    seconds: float
    silent_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """How a program ended."""

    status: int | None
    """Its exit status, negative for a signal. None: it was too slow, and has been ended."""
    output: bytes
    """What it wrote to its standard output."""
    words: str
    """The end of all that it wrote."""


def run(
    argv: Sequence[str],
    *,
    package: str,
    patience: Patience,
    variables: Mapping[str, str],
    on_tick: Callable[[], int] = int,
    on_line: Callable[[str], object] = str,
) -> Ended:
    """Run a program of `package` to its end; it and all it started are gone afterwards.

    `on_tick` is called several times a second and returns a number that grows with what has been
    done: while it does, the program isn't silent. `on_line` is given each line that is written.
    Raises Unavailable if the program is missing, and whatever the two functions raise.
    """
    program = shutil.which(argv[0])
    if program is None:
        raise Unavailable(
            f"this needs the program {argv[0]}, which is missing; apt-get install {package}"
        )
    process = subprocess.Popen(
        [*_dying_with_me(), program, *argv[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LC_ALL": "C.UTF-8", **_true_user(), **variables},
        start_new_session=True,
    )
    watch = _Watch(process, patience, on_tick, on_line)
    try:
        in_time = watch.until_it_ends()
    finally:
        _end(process)
    return Ended(
        status=process.returncode if in_time else None,
        output=bytes(watch.output),
        words=watch.words.decode("utf-8", "replace").strip(),
    )


class _Watch:
    """Reads what a program writes, and looks at the clock."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        patience: Patience,
        on_tick: Callable[[], int],
        on_line: Callable[[str], object],
    ) -> None:
        self.output = bytearray()
        self.words = bytearray()
        self._process = process
        self._patience = patience
        self._on_tick = on_tick
        self._on_line = on_line
        self._line = bytearray()
        self._done = -1
        self._deadline = time.monotonic() + patience.seconds
        self._silent_at = 0.0
        self._something_came()

    def until_it_ends(self) -> bool:
        """Wait for the end of the program. Returns False when patience is at an end before."""
        assert self._process.stdout
        assert self._process.stderr
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ, self.output)
            selector.register(self._process.stderr, selectors.EVENT_READ)
            while not _has_ended(self._process):
                self._take(selector, _TICK_SECONDS)
                if (done := self._on_tick()) > self._done:
                    self._done = done
                    self._something_came()
                if time.monotonic() > min(self._deadline, self._silent_at):
                    return False
            while self._take(selector, 0):
                pass
        return True

    def _take(self, selector: selectors.BaseSelector, seconds: float) -> bool:
        """Read what is there. Returns whether there was something."""
        if not selector.get_map():
            time.sleep(seconds)
            return False
        ready = selector.select(seconds)
        for key, _ in ready:
            content = os.read(key.fd, _CHUNK)
            if not content:
                selector.unregister(key.fileobj)
                continue
            self._something_came()
            if key.data is not None and len(key.data) < _MOST_OUTPUT_BYTES:
                key.data.extend(content)
            self._hear(content)
        return bool(ready)

    def _hear(self, content: bytes) -> None:
        self.words += content
        del self.words[:-_CHUNK]
        *lines, rest = bytes(self._line + content).split(b"\n")
        self._line = bytearray(rest[-_CHUNK:])
        for line in lines:
            self._on_line(line.decode("utf-8", "replace").rstrip("\r"))

    def _something_came(self) -> None:
        self._silent_at = time.monotonic() + self._patience.silent_seconds


def _true_user() -> dict[str, str]:
    """Have skopeo and buildah know an ordinary user who is root in a user namespace only.

    Otherwise they look into folders of the machine's root, which may be closed to that user, and
    don't find the user's own credentials.
    """
    (_, user, count), (_, group, _) = (
        Path("/proc/self", name).read_text().split()[:3] for name in ("uid_map", "gid_map")
    )
    if count != "1":  # a whole range begins with root: the machine's, or a container's
        return {}
    try:
        pwd.getpwuid(int(user))
    except KeyError:  # they would look for a home there, and give up
        return {}
    return {
        "_CONTAINERS_USERNS_CONFIGURED": "done",
        "_CONTAINERS_ROOTLESS_UID": user,
        "_CONTAINERS_ROOTLESS_GID": group,
    }


def _dying_with_me() -> list[str]:
    """Have a program end when we do, however that comes."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Without taking the process's number away from it: its group is still to be ended."""
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()
