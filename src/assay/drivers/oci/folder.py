"""What else there is in a sandbox's folder where a runtime has made it:

config.json   the bundle
pid           written by the runtime
runtime/      what the runtime keeps for itself
runtime.log   its last words
"""

from __future__ import annotations

from pathlib import Path

from assay.drivers.linux.folder import SandboxFolder, last_words, noted
from assay.drivers.linux.process import Process


class BundleFolder(SandboxFolder):
    """One sandbox on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.configuration = path / "config.json"
        self.pid = path / "pid"
        self.runtime = path / "runtime"
        self.runtime_log = path / "runtime.log"

    def half_made(self) -> Process | None:
        """Process 1 by the runtime's own note, of a server that did not come as far as its own."""
        return noted(self.pid)

    def is_known_to_runtime(self) -> bool:
        """Whether nobody has had the runtime delete it."""
        try:
            return any(self.runtime.iterdir())
        except FileNotFoundError:
            return False

    def log(self) -> str:
        """What runtime and agent had to say, at most the last 4 KiB of each."""
        return "\n".join(filter(None, (last_words(self.runtime_log), super().log())))
