"""The command line in a working folder of its own, and a check that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from command_line import Assay


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    missing = os.geteuid() != 0 or shutil.which("crun") is None
    for item in items:
        if missing and not os.environ.get("CI") and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="needs root and crun"))


@pytest.fixture(scope="session")
def shared_state() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="assay-cli-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def assay(shared_state: Path, tmp_path: Path) -> Iterator[Assay]:
    made = Assay(state=shared_state, folder=tmp_path, variables={"ASSAY_DRIVER": "crun"})
    try:
        yield made
    finally:
        made.end_all()
        left = made.left_over()
        if left:
            made("run", "--", "true")  # it removes what a failed test has left
    assert left == []


@pytest.fixture
def environments(tmp_path: Path) -> Callable[..., str]:
    """Makes a folder with one environment, `sh`, whose ceilings the test sets."""

    def make(
        name: str = "sh",
        limits: Mapping[str, str] | None = None,
        ceilings: Mapping[str, str] | None = None,
        tool: str = "",
    ) -> str:
        folder = tmp_path / "environments" / name
        folder.mkdir(parents=True)
        (folder / "hello.sh").write_text("echo Hello\n")
        own = ", ".join(f"{key} = {value}" for key, value in (limits or {}).items())
        most = ", ".join(f"{key} = {value}" for key, value in (ceilings or {}).items())
        (folder / "environment.toml").write_text(f"""\
name = "{name}"
title = "A shell"
image = "host"
extensions = [".{name}"]
hello = "hello.sh"
[[tools]]
path = "{tool or "/usr/bin/sh"}"
package = "dash"
[run]
argv = ["{tool or "/usr/bin/sh"}", "{{source}}", "{{args}}"]
limits = {{ {own} }}
[ceilings]
run = {{ {most} }}
[[programs]]
file = "hello.sh"
outcome = "exited(0)"
stdout = "Hello\\n"
""")
        return str(folder.parent)

    return make
