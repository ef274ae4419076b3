"""An engine's socket on another machine, brought here by that machine's SSH server.

One `ssh` is kept running and brings the far socket to one of this machine, in a folder that only
its owner may enter; each connection is a channel of it. Nothing is run over there, and no shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import BinaryIO, Final

from assay.domain.errors import DriverUnavailable, InvalidInput
from assay.drivers.engine.endpoint import Endpoint, Streams, UnixSocket

REMEDY: Final = "apt-get install openssh-client"
_SECONDS_TO_START: Final = 15.0
_SECONDS_TO_END: Final = 5.0
_SECONDS_BETWEEN_LOOKS: Final = 0.01
_LONGEST: Final = 100
"""Of a socket's path; the kernel takes a few more."""
_OPTIONS: Final = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "UpdateHostKeys=no", "ConnectTimeout=10",
    "ServerAliveInterval=5", "ServerAliveCountMax=3", "ExitOnForwardFailure=yes",
    "StreamLocalBindMask=0177", "StreamLocalBindUnlink=yes", "ControlMaster=no",
    "ControlPath=none", "PermitLocalCommand=no", "ForwardAgent=no", "ForwardX11=no",
    "RequestTTY=no", "LogLevel=ERROR",
)  # fmt: skip
"""Nobody is asked anything, no key is believed that is not known, and nothing else comes along."""
_FORBIDDEN: Final = re.compile(r"[^A-Za-z0-9_./@+-]")
"""In the far path: ssh would take a colon for the end of it, and a % for a word of its own."""


class SshTunnel(Endpoint):
    """The socket `far` of a machine that this user may log in to, with a key."""

    def __init__(
        self,
        *,
        machine: str,
        user: str,
        port: int | None,
        far: str,
        configuration: Path | None,
        folder: Path,
    ) -> None:
        if not far.startswith("/") or _FORBIDDEN.search(far):
            raise InvalidInput(f"{far!r} can't be the path of a socket on {machine}")
        self._machine = f"{user}@{machine}" if user else machine
        self.place = f"{far} on {self._machine}"
        self._port = ("-p", str(port)) if port else ()
        self._far = far
        self._configuration = ("-F", str(configuration)) if configuration else ()
        self._near = UnixSocket(folder / f"tunnel-{os.getpid()}-{id(self):x}")
        self._process: subprocess.Popen[bytes] | None = None
        self._words: BinaryIO | None = None
        self._lock = threading.Lock()

    def connect(self, seconds: float) -> socket.socket:
        """A connection by the tunnel, which is dug where there is none. Raises OSError or
        DriverUnavailable.
        """
        self._dig()
        return self._near.connect(seconds)

    async def open(self, seconds: float) -> Streams:
        """The same, for the event loop."""
        await asyncio.to_thread(self._dig)
        return await self._near.open(seconds)

    def _dig(self) -> None:
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._fill_in()
            program = shutil.which("ssh")
            if program is None:
                raise DriverUnavailable(f"the program ssh is not on this machine: {REMEDY}")
            self._prepare()
            started = threading.Event()
            # The kernel ends ssh with the thread that has started it, so that one stays.
            threading.Thread(
                target=self._keep, args=(program, started), name="assay-ssh", daemon=True
            ).start()
            started.wait()
            self._wait_until_dug()

    def _prepare(self) -> None:
        folder = self._near.path.parent
        if len(str(self._near.path)) > _LONGEST:
            raise DriverUnavailable(
                f"the path of the state folder is too long for a socket in {folder}: name a shorter"
                " one in ASSAY_STATE"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        for left in folder.glob("tunnel-*-*"):  # of servers that were killed
            if not Path("/proc", left.name.split("-")[1]).exists():
                left.unlink(missing_ok=True)

    def _keep(self, program: str, started: threading.Event) -> None:
        try:
            self._process = subprocess.Popen(
                [*_dying_with_me(), program, *self._configuration, "-N", "-n", "-T", "-a", "-x",
                 *(word for option in _OPTIONS for word in ("-o", option)), *self._port,
                 "-L", f"{self._near.path}:{self._far}", "--", self._machine],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._words,
                start_new_session=True,
            )  # fmt: skip
        finally:
            started.set()
        self._process.wait()

    def _wait_until_dug(self) -> None:
        process, deadline = self._process, time.monotonic() + _SECONDS_TO_START
        while not self._is_open():
            if process is None or process.poll() is not None:
                raise self._failed()
            if time.monotonic() > deadline:
                self._end()
                raise self._failed(f"nothing came of it in {_SECONDS_TO_START:.0f} s")
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _is_open(self) -> bool:
        """Whether connections are let in: the socket is there a moment before it listens."""
        try:
            self._near.connect(_SECONDS_TO_START).close()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def said(self) -> str:
        """The end of what ssh had to say."""
        if self._words is None:
            return ""
        size = os.fstat(self._words.fileno()).st_size
        text = os.pread(self._words.fileno(), 2000, max(0, size - 2000))
        return text.decode(errors="replace").strip()

    def _failed(self, why: str = "") -> DriverUnavailable:
        said = self.said()
        remedy = next((each for words, each in _REMEDIES if words in said), _OTHERWISE)
        way = " ".join((*self._configuration, *self._port, self._machine))
        return DriverUnavailable(
            f"{self._machine} can't be reached by ssh: {remedy.format(machine=way)}",
            detail=said or why,
        )

    def _fill_in(self) -> None:
        """Begin with nothing."""
        self._near.path.unlink(missing_ok=True)
        if self._words is not None:
            self._words.close()
        self._words = _new_file()

    def _end(self) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._process = None

    def close(self) -> None:
        """End ssh, and every connection by it."""
        with self._lock:
            self._end()
            with contextlib.suppress(OSError):
                self._near.path.unlink(missing_ok=True)
            if self._words is not None:
                self._words.close()
                self._words = None


_REMEDIES: Final = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its key is not the one that is known; unless the machine was set up anew, somebody else"
        " answers there. If it was: ssh-keygen -R HOST, then see the next line of this page"
        " for how a key becomes known: ssh {machine}",
    ),
    (
        "Host key verification failed",
        "its key is not known here; compare it (there: ssh-keygen -lf"
        " /etc/ssh/ssh_host_ed25519_key.pub) and accept it, as the user who runs this: ssh"
        " {machine}",
    ),
    (
        "Permission denied",
        "it does not let this user in without a password; give it a key: ssh-copy-id {machine}",
    ),
)
_OTHERWISE: Final = "see what `ssh {machine} true` says, as the user who runs this"


def _new_file() -> BinaryIO:
    """One that is nowhere but in memory."""
    return os.fdopen(os.memfd_create("assay-ssh", os.MFD_CLOEXEC), "wb", buffering=0)


def _dying_with_me() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
