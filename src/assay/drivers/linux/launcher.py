"""Threads that start sandboxes, each with a mount namespace of its own.

What such a thread mounts is seen by the programs it starts and by nobody else, and is gone when
the thread ends, however it ends. So preparing a sandbox leaves no mounts on the host.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from assay.drivers.linux import kernel
from assay.drivers.linux.confinement import network_settings
from assay.drivers.linux.kernel import MountFlag

Result = TypeVar("Result")


class Launcher:
    """Runs functions in a few threads; `prepare` sets up a thread's fresh mount namespace."""

    def __init__(self, prepare: Callable[[], None], threads: int) -> None:
        self._prepare = prepare
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="assay-launcher")
        self._thread = threading.local()
        self._open: list[_HostMounts] = []

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Run `work` in one of the threads, as soon as one is free."""
        return self._pool.submit(self._run, work)

    def close(self) -> None:
        """Wait for what is running, and end the threads."""
        self._pool.shutdown(wait=True)
        for mounts in self._open:
            mounts.close()
        self._open.clear()

    def _run(self, work: Callable[[], Result]) -> Result:
        mounts: _HostMounts | None = getattr(self._thread, "mounts", None)
        if mounts is None:
            mounts = self._thread.mounts = _HostMounts()
            self._open.append(mounts)
            self._enter()
        elif mounts.changed():
            mounts.enter()
            self._enter()
        return work()

    def _enter(self) -> None:
        kernel.unshare_mounts()
        # Slave: what is unmounted on the host goes away here too, and nothing comes back.
        kernel.mount("none", Path("/"), flags=MountFlag.RECURSIVE | MountFlag.SLAVE)
        self._prepare()


def hide(pid: int, targets: Iterable[Path]) -> None:
    """Unmount these in the mount namespace of a process; what it has open there stays open.

    For a launcher's thread, which comes back to its own namespace.
    """
    with mounts_of(pid):
        for target in targets:
            kernel.detach(target)


def close_folder(pid: int, target: str) -> None:
    """Let a process change nothing any more in a mounted folder, though it has it open.

    For a launcher's thread. The process may have another root than its mount namespace has.
    """
    folder = os.open(f"/proc/{pid}/root{target}", os.O_PATH | os.O_CLOEXEC)
    try:
        with mounts_of(pid):
            os.fchdir(folder)
            flags = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.RDONLY
            kernel.mount("none", Path(), flags=MountFlag.REMOUNT | MountFlag.BIND | flags)
    finally:
        os.close(folder)


def limit_network(pid: int) -> None:
    """Set what confines the network namespace of a process, from outside.

    In a thread that ends with that: without root, nobody gets back into the host's namespace.
    """

    def limit() -> None:
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.enter_network(namespace)
        finally:
            os.close(namespace)
        for name, value in network_settings().items():
            Path("/proc/sys", *name.split(".")).write_text(value)

    with ThreadPoolExecutor(1, thread_name_prefix="assay-network") as once:
        once.submit(limit).result()


@contextlib.contextmanager
def mounts_of(pid: int) -> Iterator[None]:
    """Be in the mount namespace of a process; for a launcher's thread."""
    own = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.enter_mounts(other)
        finally:
            os.close(other)
        try:
            yield
        finally:
            kernel.enter_mounts(own)
    finally:
        os.close(own)


class _HostMounts:
    """Notices that the host's mounts are no longer those that a thread has copied.

    An image may have been mounted since. /proc/PID belongs to the first thread of the process,
    which stays in the host's namespace.
    """

    def __init__(self) -> None:
        self._table = os.open(f"/proc/{os.getpid()}/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._table, select.POLLPRI)

    def changed(self) -> bool:
        return bool(self._poll.poll(0))

    def enter(self) -> None:
        namespace = os.open(f"/proc/{os.getpid()}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.enter_mounts(namespace)
        finally:
            os.close(namespace)

    def close(self) -> None:
        os.close(self._table)
