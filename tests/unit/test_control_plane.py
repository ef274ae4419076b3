"""The table of attacks on the control plane names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def test_every_test_that_the_table_names_is_there() -> None:
    table = (ROOT / "docs" / "control-plane.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 10
    for row in rows:
        named = NAMED.findall(row)
        assert named, f"no test in {row}"
        for path, name in named:
            assert f"def {name}(" in (ROOT / path).read_text(), (path, name)
