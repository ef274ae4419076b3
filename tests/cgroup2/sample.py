"""What is tried of the suites where control groups are of version 2 alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

MACHINE = Path(__file__).with_name("machine.py")
DRIVERS = ("lean", "crun", "runc")
SAMPLE = (
    "limits/cpu-time", "ending/descendant-daemon", "sandboxes/agent-killed",
    "memory/child-that-eats", "processes/bomb-fork",
)  # fmt: skip
_EACH = 'for driver in lean crun runc; do "$0" driver check "$driver" "$@"; done'


class Running:
    """A machine that runs the sample, for as long as it takes, on one processor."""

    def __init__(self) -> None:
        chosen = [word for name in SAMPLE for word in ("--case", name)]
        assay = Path(sys.executable).with_name("assay")
        self._folder = TemporaryDirectory()
        self._said, self._errors = (Path(self._folder.name, name) for name in ("said", "errors"))
        with self._said.open("w") as said, self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, MACHINE, "--seconds", "400", "sh", "-c", _EACH, assay, "--json",
                 *chosen],
                stdout=said, stderr=errors, stdin=subprocess.DEVNULL,
                env={**os.environ, "ASSAY_STATE": "/run/assay"},
            )  # fmt: skip

    def said(self, seconds: float) -> str:
        """Its output, a line of JSON for each driver; waits for the end."""
        self._process.wait(seconds)
        text = self._said.read_text()
        assert len(text.splitlines()) == len(DRIVERS), self._errors.read_text()
        return text

    def end(self) -> None:
        """Whether it is over or not."""
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()
