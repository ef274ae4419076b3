"""A check after each grading that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from real_grading import Grading, grading_in

# Learners' programs and teachers' tests, none of which is ours to run.
collect_ignore = ["golden"]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if os.geteuid() != 0 and not os.environ.get("CI") and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


def left_over(state: Path) -> list[str]:
    """Whatever sandboxes of this state folder have left on the host."""
    found = [f"user range {link.name}" for link in (state / "users").glob("*")]
    for folder in ("sandboxes", "run"):
        found += [f"folder {path}" for path in state.glob(f"*/{folder}/*")]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [f"mount {line}" for line in mounts if f"{state}/" in line]


@pytest.fixture
def graded() -> Iterator[Grading]:
    state = Path(tempfile.mkdtemp(prefix="assay-grading-"))
    try:
        yield grading_in(state)
        assert left_over(state) == []
    finally:
        shutil.rmtree(state)
