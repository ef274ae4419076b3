"""What the tests of the pool share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def nothing_left() -> None:
    """(Each test has an event loop of its own, in virtual time, and `bench` looks for leaks.)"""
