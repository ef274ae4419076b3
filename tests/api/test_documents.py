"""docs/api.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assay.api.errors import STATUS
from assay.api.route import Route
from assay.api.routes import ROUTES

TEXT = (Path(__file__).parents[2] / "docs/api.md").read_text()
_NAMED = re.compile(r"\{[^{}]*\}")


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_is_described(route: Route) -> None:
    path = route.path.partition("{path:")[0]
    assert _NAMED.sub("{}", path) in _NAMED.sub("{}", TEXT)


@pytest.mark.parametrize(("code", "status"), STATUS.items())
def test_every_code_is_beside_its_status(code: str, status: int) -> None:
    assert re.search(rf"^\| {status} \|.*`{code}`", TEXT, re.MULTILINE)
