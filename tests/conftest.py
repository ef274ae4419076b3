"""Which tests are slow: those that make sandboxes or run whole commands, and the fake's suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SLOW = (
    "bench",
    "cli",
    "conformance",
    "drivers",
    "pool",
    "rootless",
    "runners",
    "server",
    "unit/drivers/fake/test_conformance.py",
    "wheels",
)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(HERE / place) for place in SLOW):
            item.add_marker(pytest.mark.slow)
