"""One ordinary user for all tests of a file, and control groups for those that want them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from ordinary import Ordinary, delegated_to, ordinary_user


@pytest.fixture(scope="module")
def ordinary() -> Iterator[Ordinary]:
    with ordinary_user() as user:
        yield user


@pytest.fixture
def delegated(ordinary: Ordinary) -> Iterator[None]:
    with delegated_to(ordinary):
        yield
