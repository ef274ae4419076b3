"""Both suites, whole, by way of a node that Nomad has started: the job that is published."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from nomad_site import running_site

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[3]
_SECONDS = 1400.0


def test_both_suites_pass_on_a_node_that_nomad_has_started(tmp_path: Path) -> None:
    log = Path(os.environ.get("ASSAY_TEST_LOG", tmp_path / "check.log"))
    with (
        running_site(servers=1, clients=1) as site,
        tempfile.TemporaryDirectory(prefix="assay-check-") as state,
        log.open("wb") as output,
    ):
        command = [
            sys.executable, "-B", "-m", "assay", "--state", state, "driver", "check", "nodes",
        ]  # fmt: skip
        done = subprocess.run(
            command, stdout=output, stderr=output, cwd=ROOT, timeout=_SECONDS,
            env={**os.environ, **site.variables, "ASSAY_CONFIG": os.devnull},
        )  # fmt: skip
    said = log.read_text(errors="replace")
    assert done.returncode == 0, [line for line in said.splitlines() if line.startswith("✗")]
