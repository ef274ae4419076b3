"""One server, and one node, for a state folder: locks with their holders in them.

The database has its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from assay.domain.errors import Unavailable


@contextlib.contextmanager
def alone_in(state: Path, what: str = "server") -> Iterator[None]:
    """Be the only server of a state folder, or its only node.

    Raises Unavailable, naming the other one's process.
    """
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(state / f"{what}.lock", flags, 0o600)
    except OSError as error:
        raise Unavailable(
            f"the state folder {state} cannot be written: {error.strerror}; run as its owner"
            " (sudo), or choose another one with --state"
        ) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            raise Unavailable(
                f"another {what}, process {holder}, has the state folder {state}: stop it, or"
                " choose another one with --state"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)
