"""Skips without a machine of its own; fails where CI says that there must be one."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from sample import Running

MACHINE = Path(__file__).with_name("machine.py")


@pytest.fixture(scope="session")
def machine() -> ModuleType:
    """The module machine.py, which is no part of a package."""
    specification = importlib.util.spec_from_file_location("assay_machine", MACHINE)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    if why := module.missing():
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    return module


@pytest.fixture(scope="session", autouse=True)
def sample_of_suites(
    request: pytest.FixtureRequest, machine: ModuleType
) -> Iterator[Callable[[float], str]]:
    """The sample runs from the first test of this folder on, as the other tests mostly wait."""
    wanted = any(item.path.name == "test_suites.py" for item in request.session.items)
    running = Running() if wanted else None
    try:
        yield running.said if running else lambda _: ""
    finally:
        if running:
            running.end()
