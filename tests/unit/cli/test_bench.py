"""`assay bench`: what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from assay.cli.app import run_app
from assay.cli.bench import ALL, bench

PAGE = Path(__file__).parents[3] / "docs/benchmarks.md"


@pytest.mark.parametrize("command", [["bench", "--help"], ["bench", "all", "--help"]])
def test_help_names_what_all_runs(
    command: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(command) == 0
    assert ", ".join(ALL) in " ".join(capsys.readouterr().out.split())


def test_the_page_names_what_all_runs() -> None:
    (line,) = (line for line in PAGE.read_text().splitlines() if "assay bench all " in line)
    assert f" {', '.join(ALL)}: " in line
    assert set(ALL) < set(bench.commands)
