"""The way in. Imports next to nothing, so that not even an early Ctrl-C shows a traceback."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Run the command line of this process and return its exit status."""
    _open_standard_streams()
    # Users of sandboxes must get through the folders that are made for them, whatever umask we were
    # given. What is nobody else's business is made with a mode of its own.
    os.umask(0o022)
    try:
        from assay.cli.app import run_app

        return run_app(sys.argv[1:])
    except KeyboardInterrupt:
        return 130


def _open_standard_streams() -> None:
    """What was closed becomes /dev/null, lest the next file that is opened takes its place."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
