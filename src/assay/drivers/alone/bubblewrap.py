"""Bubblewrap (`bwrap`), with namespaces of every kind and nothing else."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path
from typing import Final

from assay.domain.errors import RuntimeMissing
from assay.driver.port import Health, Problem, RootFilesystem
from assay.drivers.alone.crowd import Crowd

_SHOWN: Final = "/.assay"
"""Where the program's folder is seen; every root has it."""
_MISSING: Final = Problem(
    summary="bubblewrap is not installed", remedy="apt-get install bubblewrap"
)


class BubblewrapAlone:
    """Starts `floor --idle` in sandboxes of bubblewrap; `floor` is that program."""

    name = "bubblewrap alone"

    def __init__(self, *, floor: Path, program: str = "bwrap") -> None:
        self._floor = floor
        self._program = program

    async def probe(self) -> Health:
        """Say whether it is installed."""
        found = shutil.which(self._program)
        return Health(works=found is not None, problems=() if found else (_MISSING,))

    async def start(self, root: RootFilesystem, count: int) -> Standing:
        """Start so many at once. Raises RuntimeFailed, RuntimeMissing or CreateTimeout."""
        program = shutil.which(self._program)
        if program is None:
            raise RuntimeMissing(_MISSING.summary)
        mark = secrets.token_hex(8)
        shown: list[str | Path] = []
        for mount in root.mounts:
            shown += ("--ro-bind", mount.source, mount.target)
        command: list[str | Path] = [
            program, "--ro-bind", root.path, "/", *shown,
            "--ro-bind", self._floor.parent, _SHOWN,
            "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp",
            "--unshare-all", "--die-with-parent", "--new-session",
            f"{_SHOWN}/{self._floor.name}", "--idle", mark,
        ]  # fmt: skip
        return Standing(await Crowd.start(self._floor, count, command), mark)


class Standing:
    """So many that are idle."""

    def __init__(self, crowd: Crowd, mark: str) -> None:
        self._crowd = crowd
        self.seconds = crowd.seconds
        self.names = (mark,)
        """In the arguments of their processes."""

    async def end(self) -> float:
        """End them; seconds until all were gone."""
        return await self._crowd.end()
