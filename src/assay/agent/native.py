"""Where the programs are that `make -C agent` builds for sandboxes."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Final

from assay.domain.errors import Unavailable

_NATIVE: Final = Path(__file__).resolve().parent.parent / "native"
_MACHINES: Final = ("x86_64", "aarch64")
_OTHER_NAMES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


def program(name: str, *, native: Path = _NATIVE, machine: str = "") -> Path:
    """Return the path of a static program ("agent", "probe" or "floor") for this machine.

    Raises Unavailable, with what to do about it, when it is not there.
    """
    machine = (machine or platform.machine()).lower()
    machine = _OTHER_NAMES.get(machine, machine)
    path = native / machine / name
    if not path.is_file():
        raise Unavailable(_remedy(name, native, machine), detail=f"{path} is missing")
    return path


def _remedy(name: str, native: Path, machine: str) -> str:
    if machine not in _MACHINES:
        return f"Assay runs on {' and '.join(_MACHINES)}; this machine is {machine}"
    if _in_checkout(native):
        return (
            f"the program {name!r} was not built for this machine ({machine});"
            f" build it: ./dev assay doctor (or: make -C agent MACHINE={machine})"
        )
    return (
        f"this installation of Assay has no programs for {machine}; install the wheel for it:"
        " pip install --force-reinstall assay"
    )


def _in_checkout(native: Path) -> bool:
    return (native.parent.parent.parent / "agent" / "Makefile").is_file()
