"""Nodes of the tests' own, and a check after each test that nothing of their sandboxes is left."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "server"))

from node_process import NodeProcess

from assay.cli.node_certificates import make


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Skip at home what can't be; where CI says that all is there, fail."""
    missing = [each for each in ("openssl", "ip", "nsenter") if shutil.which(each) is None]
    if (os.geteuid() != 0 or missing) and not os.environ.get("CI"):
        reason = f"root and {', '.join(missing) or 'nothing else'} are needed"
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def make_node() -> Iterator[Callable[..., NodeProcess]]:
    """Makes nodes, which all have one authority, and sees that all of their sandboxes go."""
    made: list[NodeProcess] = []
    folder = Path(tempfile.mkdtemp(prefix="assay-nodes-"))
    certificates = folder / "certificates"

    def one(**options: object) -> NodeProcess:
        host = str(options.get("host", "127.0.0.1"))
        if not (certificates / host).exists():
            list(make(certificates, nodes=[host], servers=[], days=2))
        own = folder / f"node-{len(made)}"
        own.mkdir()
        node = NodeProcess(folder=own, certificates=certificates, **options)  # type: ignore[arg-type]
        made.append(node)
        node.start()
        return node

    try:
        list(make(certificates, nodes=[], servers=["main"], days=2))
        yield one
        for node in made:
            # What a killed one had prepared ends with it, and is removed by whoever comes next.
            if node.process is None and list(node.state.glob("*/prepared/*")):
                node.start()
            if node.process is not None:
                assert node.stop() == 0
            deadline = time.monotonic() + 30
            while left := node.left_over():
                if time.monotonic() > deadline:
                    break
                time.sleep(0.1)
            assert left == [], node.log
    finally:
        for node in made:
            node.end()
        shutil.rmtree(folder)
