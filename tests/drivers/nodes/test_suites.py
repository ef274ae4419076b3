"""The published suites on a node: a case of each group; `driver check` tries all of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from node_process import HERE, NodeProcess

from assay.cli.node_certificates import make
from assay.drivers.nodes import NodesDriver, Sources
from assay.testing import CONFORMANCE, HOSTILE, Case, Runner, Verdict, bare_root, open_runner

pytestmark = pytest.mark.root

CASE = "starting/privileged-is-root"
ALSO = (
    "sandboxes/cancelled-create-leaves-nothing", "sandboxes/agent-stopped",
    "reattachment/no-byte-lost-or-doubled", "streams/flood-delays-no-keystroke",
)  # fmt: skip


def sample() -> list[Case]:
    """The first of each group, and what the link could spoil."""
    first: dict[str, Case] = {}
    for case in [*CONFORMANCE, *HOSTILE]:
        first.setdefault(case.name.split("/")[0] + str(case.hostile), case)
    also = [case for case in [*CONFORMANCE, *HOSTILE] if case.name in ALSO]
    return list({case.name: case for case in [*first.values(), *also]}.values())


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    folder = tmp_path_factory.mktemp("node")
    list(make(folder / "certificates", nodes=[HERE], servers=["main"], days=2))
    node = NodeProcess(folder=folder, certificates=folder / "certificates")
    try:
        node.start()
        yield node
        assert node.stop() == 0
    finally:
        node.end()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runner(
    node: NodeProcess, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Runner]:
    folder = tmp_path_factory.mktemp("server")
    driver = NodesDriver(
        sources=Sources(addresses=(node.address,)),
        certificates=node.certificates / "main",
        state=folder,
    )
    async with open_runner(driver, root=bare_root(folder)) as opened:
        yield opened
    assert await driver.list() == []
    await driver.aclose()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", sample(), ids=str)
async def test_a_node_withstands_a_sample(runner: Runner, case: Case) -> None:
    result = await runner.run(case)
    assert result.verdict is Verdict.PASSED, f"{case.sentence} {result.reason}"


def test_any_command_can_have_a_node_to_throw_away() -> None:
    script = str(Path(__file__).with_name("node_process.py"))
    check = [sys.executable, "-m", "assay", "driver", "check", "nodes", "--case", CASE]
    done = subprocess.run(
        [sys.executable, "-B", script, *check], capture_output=True, text=True, timeout=100
    )
    assert "nodes is green" in done.stdout, done.stderr
