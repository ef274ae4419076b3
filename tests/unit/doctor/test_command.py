"""The command, through the door that `assay` uses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from assay.bootstrap import PREFERRED
from assay.cli.app import run_app

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASSAY_DRIVER", "ASSAY_CRUN", "ASSAY_RUNC", "ASSAY_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def doctor(state: Path, *arguments: str) -> int:
    return run_app(["--state", str(state), "doctor", *arguments])


def test_a_driver_that_works_is_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path, "--driver", "fake") == 0
    text = capsys.readouterr().out
    assert text.splitlines()[-1].startswith("Assay works here with fake; environments:")
    assert "\x1b" not in text


def test_no_driver_that_works_is_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CRUN", str(tmp_path / "missing"))
    assert doctor(tmp_path, "--driver", "crun", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["works"] is False
    assert found["drivers"][0]["problems"][0]["remedy"] == "apt-get install crun"


def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path, "--driver", "fake", "--json", "--sandboxes", "5") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["works"]) == (1, True)
    assert [driver["name"] for driver in found["drivers"]] == ["fake"]


def test_an_unknown_driver_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert doctor(tmp_path, "--driver", "crum") == 113
    assert "'crum'" in capfd.readouterr().err


def test_which_drivers_are_tried_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["doctor", "--help"]) == 0
    tried = f"installed ({', '.join(PREFERRED)})"
    assert tried in " ".join(capsys.readouterr().out.split())
    assert tried in " ".join((ROOT / "docs/doctor.md").read_text().split())


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make sandboxes")
def test_this_machine_has_a_default_driver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor(tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["default_driver"] == "lean"
    assert all(driver["seconds"]["run"] > 0 for driver in found["drivers"] if driver["works"])
