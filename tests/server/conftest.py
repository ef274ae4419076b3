"""Servers as processes of their own, on real sandboxes; nothing may be left of them."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from server_process import ServerProcess


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    missing = os.geteuid() != 0
    for item in items:
        if missing and not os.environ.get("CI") and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def server() -> Iterator[Callable[..., ServerProcess]]:
    """Makes servers, each with a state folder of its own, and sees that all of it goes."""
    made: list[ServerProcess] = []

    def make(**options: object) -> ServerProcess:
        folder = Path(tempfile.mkdtemp(prefix="assay-server-"))
        made.append(ServerProcess(state=folder, **options))  # type: ignore[arg-type]
        return made[-1]

    try:
        yield make
        for each in made:
            if each.process is not None and not each.destroys:
                assert each.stop() == 0
            if each.process is None:
                each.destroys = True
                each.start()
            assert each.stop() == 0
            assert each.left_over() == []
    finally:
        for each in made:
            each.end()
            shutil.rmtree(each.state)
