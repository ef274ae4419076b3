"""What is particular to this project's wheels: one machine's programs, and a tag that says so.

The programs are static, so they run with any C library; nothing in the wheel depends on a version
of Python either. `ASSAY_MACHINE` chooses the machine (otherwise: this one).
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = ("agent", "floor", "grading", "guest", "lean", "probe")
PLATFORMS = ("manylinux_2_17", "manylinux2014", "musllinux_1_1")


class Programs(BuildHookInterface[Any]):
    """Adds `assay/native/MACHINE` to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before files are collected; an editable install finds its programs by itself."""
        if version == "editable":
            return
        machine = os.environ.get("ASSAY_MACHINE") or platform.machine()
        folder = Path(self.root, "src/assay/native", machine)
        for name in PROGRAMS:
            if not (folder / name).is_file():
                raise SystemExit(f"{folder / name} is missing: make -C agent MACHINE={machine}")
            build_data["force_include"][str(folder / name)] = f"assay/native/{machine}/{name}"
        tags = ".".join(f"{platform}_{machine}" for platform in PLATFORMS)
        build_data["tag"] = f"py3-none-{tags}"
        build_data["pure_python"] = False
