"""Which tests are slow: those that make sandboxes or run whole commands, and the fake's suite."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SLOW = (
    "bench",
    "cgroup2",
    "cli",
    "conformance",
    "drivers",
    "grading",
    "pool",
    "rootless",
    "runners",
    "server",
    "unit/drivers/fake/test_conformance.py",
    "wheels",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """For `tests/server/test_drill.py`, which tries little unless it is asked for more."""
    parser.addoption("--submissions", type=int, default=12, help="of the drill")
    parser.addoption("--drill-seed", type=int, help="of all that is random in it [random]")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take what was collected out of the garbage collector's sight: thousands of tests, which stay.

    The suites look for leaks with a full collection after each case; it took half a second.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(HERE / place) for place in SLOW):
            item.add_marker(pytest.mark.slow)
