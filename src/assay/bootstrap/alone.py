"""One server for a state folder, or several that know of each other, and one node: locks with their
holders in them.

The database has its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from assay.domain.errors import InUse, Unavailable

_SERVER: Final = "server"
_OR_TOGETHER: Final = ", or make both of them servers of one PostgreSQL (--advertise)"


@contextlib.contextmanager
def alone_in(state: Path, what: str = _SERVER, *, among_others: bool = False) -> Iterator[None]:
    """Be the only server of a state folder, or one of several of the same database; or its node.

    Raises InUse, naming the other one's process, or Unavailable.
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
            how = fcntl.LOCK_SH if among_others else fcntl.LOCK_EX
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
            raise InUse(
                f"another {what}, process {holder}, has the state folder {state}: stop it, or"
                f" choose another one with --state{_OR_TOGETHER if what == _SERVER else ''}"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)
