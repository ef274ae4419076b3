"""Where the programs are that `make -C agent` builds for sandboxes."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

from assay.domain.errors import Unavailable

_NATIVE: Final = Path(__file__).resolve().parent.parent / "native"
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def program(name: str, *, native: Path = _NATIVE, machine: str = "") -> Path:
    """Return the path of a static program ("agent", "probe" or "floor") for this machine.

    Raises Unavailable, with what to do about it, when it was not built.
    """
    machine = (machine or platform.machine()).lower()
    path = native / _MACHINES.get(machine, machine) / name
    if not path.is_file():
        raise Unavailable(
            f"the program {name!r} was not built for this machine ({machine});"
            " build it: ./dev assay doctor (or: make -C agent)",
            detail=f"{path} is missing",
        )
    return path
