"""Drivers of machines for tests, and what they need."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from assay.agent.native import program
from assay.domain.errors import RuntimeMissing
from assay.drivers.microvm import MicroVmDriver, Qemu
from assay.drivers.microvm.guest_kernel import find_kernel

FIRST_USER = 1_300_000_000


def machine_driver(state: Path, *, monitor: str = "", kernel: str = "") -> MicroVmDriver:
    return MicroVmDriver(
        monitor=Qemu(monitor),
        state=state,
        disks=state / "disks",
        agent=program("agent"),
        guest=program("guest"),
        kernel=kernel,
        first_user=FIRST_USER,
    )


def missing() -> str:
    """Why there can be no machines here, or nothing."""
    if os.geteuid() != 0:
        return "root is needed"
    if shutil.which("mkfs.erofs", path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
        return "erofs-utils is needed"
    try:
        Qemu().find()
        find_kernel("")
    except RuntimeMissing as error:
        return error.message
    return ""
