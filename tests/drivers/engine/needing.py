"""What a test of an engine can't do without."""

from __future__ import annotations

import os
import shutil

import pytest
from engine_daemon import PROGRAMS


def need(name: str) -> None:
    """Skip at home what isn't installed; where CI says that all is, fail."""
    missing = [each for each in (PROGRAMS[name], "crun", "ip") if shutil.which(each) is None]
    if missing or os.geteuid() != 0:
        reason = f"{name} needs root and {', '.join(missing) or 'nothing else'}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
