"""Which tests are slow: those that make sandboxes or run whole commands, and the fake's suite."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from tests.side_by_side import run_taken

HERE = Path(__file__).parent
SLOW = (
    "api/test_jobe_for_real.py",
    "bench",
    "cgroup2",
    "cli",
    "conformance",
    "drivers",
    "grading",
    "images",
    "pool",
    "rootless",
    "runners",
    "sdk",
    "server",
    "storage",
    "unit/drivers/fake/test_conformance.py",
    "unit/testing/test_suites.py",
    "wheels",
)


QUICK = "not slow"
"""By which the fast part is chosen: slow folders are not even looked into then, and what is left to
chance has fewer tries."""
settings.register_profile("quick", max_examples=15)


def pytest_addoption(parser: pytest.Parser) -> None:
    """For `tests/server/test_drill.py`, which tries little unless it is asked for more."""
    parser.addoption("--submissions", type=int, default=12, help="of the drill")
    parser.addoption("--drill-seed", type=int, help="of all that is random in it [random]")
    parser.addoption("--claims", type=Path, help="a folder: see tests/side_by_side.py")


def pytest_configure(config: pytest.Config) -> None:
    if config.option.markexpr == QUICK:
        settings.load_profile("quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.option.markexpr == QUICK and is_in(collection_path, SLOW) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take what was collected out of the garbage collector's sight: thousands of tests, which stay.

    The suites look for leaks with a full collection after each case; it took half a second.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_in(item.path, SLOW):
            item.add_marker(pytest.mark.slow)


def is_in(path: Path, places: Sequence[str]) -> bool:
    return any(path.is_relative_to(HERE / place) for place in places)


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    if session.config.option.claims is None or session.config.option.collectonly:
        return None
    run_taken(session, session.config.option.claims)
    return True
