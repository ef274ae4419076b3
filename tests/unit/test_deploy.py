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
UNIT = DEPLOY / "assay.service"


def directives() -> dict[str, str]:
    lines = (line.partition("=") for line in UNIT.read_text().splitlines() if line[:1] != "#")
    return {key: value for key, equals, value in lines if equals}


def test_sandboxes_survive_the_service() -> None:
    found = directives()
    wanted = {
        "KillMode": "process", "Delegate": "yes", "DelegateSubgroup": "server",
        "RuntimeDirectoryPreserve": "yes", "OOMPolicy": "continue", "Type": "notify",
    }  # fmt: skip
    assert {key: found.get(key) for key in wanted} == wanted


def test_what_sandboxes_would_inherit_or_could_not_be_made_with_is_not_used() -> None:
    harmful = {
        "SystemCallFilter", "SystemCallArchitectures", "RestrictNamespaces",
        "MemoryDenyWriteExecute", "RestrictSUIDSGID", "RestrictAddressFamilies",
        "ProtectKernelTunables", "ProtectKernelLogs", "ProtectKernelModules", "ProtectProc",
        "ProcSubset", "ProtectControlGroups", "PrivateDevices", "PrivateUsers", "LockPersonality",
        "RestrictRealtime", "ProtectHostname", "ProtectClock", "CapabilityBoundingSet",
        "OOMScoreAdjust", "NoNewPrivileges",
    }  # fmt: skip
    assert not harmful & directives().keys()


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        message = "systemd-analyze is not installed: apt-get install systemd"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    unit = tmp_path / UNIT.name
    program = tmp_path / "assay"  # this checkout's path may have a blank, which a unit must quote
    program.symlink_to(sys.executable)
    text = UNIT.read_text().replace("/opt/assay/bin/assay", str(program))
    version = subprocess.run(["systemd-analyze", "--version"], capture_output=True, text=True)
    if int(re.findall(r"systemd (\d+)", version.stdout)[0]) < 254:
        text = text.replace("DelegateSubgroup=server\n", "")
    unit.write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60
    )
    complaints = [line for line in verified.stderr.splitlines() if unit.name in line]
    assert (verified.returncode, complaints) == (0, [])
