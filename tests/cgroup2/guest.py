"""Process 1 of the machine: mounts what a Linux system has, runs one command, says how it ended.

It is started by the kernel, with nothing but the standard library, and sees the host's files, to
be read only. What it says goes over a serial line, in frames: kind (1 byte), length (4), content.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import termios
import traceback
import tty
from pathlib import Path
from typing import Any

LINE = "/dev/ttyS0"
STDOUT, STDERR, ENDED, BROKEN = 1, 2, 3, 4
MEMORY = (("/tmp", "mode=1777"), ("/var/tmp", "mode=1777"), ("/run", "mode=755"))
SYSTEM = (
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("cgroup2", "/sys/fs/cgroup", "nsdelegate,memory_recursiveprot"),  # as systemd does
    ("devpts", "/dev/pts", "mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
)
LIBC = ctypes.CDLL(None, use_errno=True)
FINIT_MODULE = 313


def check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(kind: str, target: str, options: str = "", flags: int = 0) -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    check(
        LIBC.mount(b"machine", target.encode(), kind.encode(), flags, os.fsencode(options)),
        f"mount {kind} {target}",
    )


def show(folder: str, target: str, flags: int = 0) -> None:
    """Make a folder of the host seen at `target`."""
    mount("hostfs", target, folder, flags)


def read_request() -> dict[str, Any]:
    """It is in a file system that only the machine's own process on the host sees.

    It is removed: a machine that starts again by itself must not do it twice.
    """
    show("/dev/shm", "/run")
    file = Path("/run/request")
    request: dict[str, Any] = json.loads(file.read_text())
    file.unlink()
    check(LIBC.umount(b"/run"), "umount")
    return request


def set_up(request: dict[str, Any]) -> None:
    for kind, target, options in SYSTEM:
        mount(kind, target, options)
    for target, options in MEMORY:
        mount("tmpfs", target, options)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        Path("/dev", name).symlink_to(f"/proc/self/fd/{number}")
    Path("/dev/fd").symlink_to("/proc/self/fd")
    for folder in request["folders"]:  # what was just covered
        if not Path(folder).exists():
            show(folder, folder, 1)
    if request["results"]:
        show(request["results"], "/run/results")
    for module in Path("/usr/lib/uml/modules", os.uname().release).rglob("overlay.ko"):
        with module.open("rb") as file:
            check(LIBC.syscall(FINIT_MODULE, file.fileno(), b"", 0), "overlay")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request_up = struct.pack("16sh14x", b"lo", 1)  # IFF_UP
        fcntl.ioctl(any_socket, 0x8914, request_up)  # SIOCSIFFLAGS
    socket.sethostname("machine")


def send(line: int, kind: int, content: bytes) -> None:
    frame = memoryview(struct.pack(">BI", kind, len(content)) + content)
    while frame:
        frame = frame[os.write(line, frame) :]


def run(line: int, request: dict[str, Any]) -> int:
    """Run the command; its output goes over the line while it comes. Returns its exit status."""
    ours, theirs = socket.socketpair()  # says that some process has ended
    ours.setblocking(False)
    theirs.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(theirs.fileno())
    with subprocess.Popen(
        request["command"], cwd=request["folder"], env=request["environment"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    ) as program, selectors.DefaultSelector() as ready:  # fmt: skip
        assert program.stdout is not None
        assert program.stderr is not None
        streams = {program.stdout.fileno(): STDOUT, program.stderr.fileno(): STDERR}
        ready.register(ours, selectors.EVENT_READ)
        for stream in streams:
            os.set_blocking(stream, False)
            ready.register(stream, selectors.EVENT_READ)
        status = None
        while status is None:
            for key, _ in ready.select():
                if key.fd in streams and not pass_on(key.fd, line, streams[key.fd]):
                    ready.unregister(key.fd)
            status = reap(program.pid)
        for stream, kind in streams.items():  # somebody else may hold them open for ever
            while pass_on(stream, line, kind):
                pass
        program.returncode = status
    return status


def pass_on(stream: int, line: int, kind: int) -> bool:
    """Whether there was something."""
    try:
        content = os.read(stream, 65536)
    except BlockingIOError:
        return False
    if content:
        send(line, kind, content)
    return bool(content)


def reap(wanted: int) -> int | None:
    """The exit status of the process that we wait for, as a shell would have it."""
    status = None
    while True:
        try:
            pid, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == wanted:
            code = os.waitstatus_to_exitcode(how)
            status = code if code >= 0 else 128 - code


def main() -> None:
    line = os.open(LINE, os.O_WRONLY | os.O_NOCTTY)
    tty.setraw(line)
    try:
        request = read_request()
        set_up(request)
        status = run(line, request)
        os.sync()
        send(line, ENDED, bytes((status & 255,)))
    except BaseException:
        send(line, BROKEN, traceback.format_exc().encode())
    termios.tcdrain(line)
    signal.pause()  # whoever has read the last frame ends the machine


if __name__ == "__main__":
    sys.exit(main())
