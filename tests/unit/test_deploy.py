"""The files of deploy/ say what the code relies on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"
units = pytest.mark.parametrize(
    "unit", [DEPLOY / "assay.service", DEPLOY / "assay-node.service"], ids=lambda unit: unit.stem
)


def directives(unit: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in unit.read_text().splitlines() if line[:1] != "#")
    return {key: value for key, equals, value in lines if equals}


@units
def test_sandboxes_survive_the_service(unit: Path) -> None:
    found = directives(unit)
    wanted = {
        "KillMode": "process", "Delegate": "yes", "DelegateSubgroup": "server",
        "RuntimeDirectoryPreserve": "yes", "OOMPolicy": "continue", "Type": "notify",
    }  # fmt: skip
    assert {key: found.get(key) for key in wanted} == wanted


@units
def test_what_sandboxes_would_inherit_or_could_not_be_made_with_is_not_used(unit: Path) -> None:
    harmful = {
        "SystemCallFilter", "SystemCallArchitectures", "RestrictNamespaces",
        "MemoryDenyWriteExecute", "RestrictSUIDSGID", "RestrictAddressFamilies",
        "ProtectKernelTunables", "ProtectKernelLogs", "ProtectKernelModules", "ProtectProc",
        "ProcSubset", "ProtectControlGroups", "PrivateDevices", "PrivateUsers", "LockPersonality",
        "RestrictRealtime", "ProtectHostname", "ProtectClock", "CapabilityBoundingSet",
        "OOMScoreAdjust", "NoNewPrivileges",
    }  # fmt: skip
    assert not harmful & directives(unit).keys()


@units
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        message = "systemd-analyze is not installed: apt-get install systemd"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    copy = tmp_path / unit.name
    program = tmp_path / "assay"  # this checkout's path may have a blank, which a unit must quote
    program.symlink_to(sys.executable)
    text = unit.read_text().replace("/opt/assay/bin/assay", str(program))
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True)
    if int(re.findall(r"systemd (\d+)", version.stdout)[0]) < 254:
        text = text.replace("DelegateSubgroup=server\n", "")
    copy.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, complaints) == (0, [])
