"""A sample of both suites where control groups are of version 2 alone, with each local runtime.

All of it: ./dev uml .venv/bin/assay driver check lean
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sample import DRIVERS, SAMPLE

SECONDS = 300
"""It takes 40 on two processors that have nothing else to do."""


@pytest.fixture(scope="module")
def reports(sample_of_suites: Callable[[float], str]) -> Mapping[str, Any]:
    """What the suites report of each of the drivers."""
    said = [json.loads(line) for line in sample_of_suites(SECONDS).splitlines()]
    return {report["driver"]: report for each in said for report in each["reports"]}


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_sample_of_the_suites_is_green_on_version_2(
    driver: str, reports: Mapping[str, Any]
) -> None:
    failed = [case for case in reports[driver]["cases"] if case["verdict"] == "failed"]

    assert failed == []
    assert reports[driver]["passed"] == len(SAMPLE)
