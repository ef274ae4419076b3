"""A sample of both suites where control groups are of version 2 alone, with each local runtime.

All of it: ./dev uml .venv/bin/assay driver check lean
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ASSAY = Path(sys.executable).with_name("assay")
SAMPLE = (
    "limits/cpu-time", "ending/descendant-daemon", "sandboxes/agent-killed",
    "memory/child-that-eats", "processes/bomb-fork",
)  # fmt: skip
SECONDS = 300
"""It takes 40 on two processors that have nothing else to do."""


@pytest.fixture(scope="module")
def reports(machine: ModuleType) -> Mapping[str, Any]:
    """What the suites report of each driver that works there."""
    said: dict[int, bytes] = {1: b"", 2: b""}

    def collect(stream: int, content: bytes) -> None:
        said[stream] += content

    chosen = [word for name in SAMPLE for word in ("--case", name)]
    task = machine.Task(
        command=[str(ASSAY), "driver", "check", "--all", "--json", *chosen],
        seconds=SECONDS,
        environment={**os.environ, "ASSAY_STATE": "/run/assay"},
    )
    machine.run(task, collect)
    assert said[1], said[2].decode()
    return {report["driver"]: report for report in json.loads(said[1])["reports"]}


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("driver", ["lean", "crun", "runc"])
def test_a_sample_of_the_suites_is_green_on_version_2(
    driver: str, reports: Mapping[str, Any]
) -> None:
    failed = [case for case in reports[driver]["cases"] if case["verdict"] == "failed"]

    assert failed == []
    assert reports[driver]["passed"] == len(SAMPLE)
