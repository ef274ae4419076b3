"""Which machine this is, for who has to tell one from another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_IDENTITY: Final = Path("/etc/machine-id")
_PROCESSES: Final = Path("/proc/self/ns/pid")


def machine_now() -> str:
    """The same for those who have one kernel and see the same processes: until it starts again."""
    return _hash(f"{_read(_BOOT)}\0{_PROCESSES.readlink()}")


def scope_of(state: Path) -> str:
    """Which of the servers it is whose state folder is this one, of this machine: after it has
    started again, too.
    """
    return _hash(f"{_read(_IDENTITY)}\0{state.absolute()}")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
