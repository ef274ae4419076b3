"""What else there is in a sandbox's folder where LXC has made it:

config     what LXC was told
monitor    the number of LXC's process beside the sandbox, written by that; most often it has ended
lxc.log    its last words, and those of lxc-start
"""

from __future__ import annotations

from pathlib import Path

from assay.drivers.linux.folder import SandboxFolder, last_words, noted
from assay.drivers.linux.process import Process


class LxcFolder(SandboxFolder):
    """One sandbox on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.configuration = path / "config"
        self.monitor = path / "monitor"
        self.lxc_log = path / "lxc.log"

    def half_made(self) -> Process | None:
        """LXC's monitor. Where there are no groups to find the rest by, that ends with it."""
        return noted(self.monitor)

    def log(self) -> str:
        """What LXC had to say, at most the last 4 KiB; the agent's own words go nowhere."""
        return last_words(self.lxc_log)
