"""What `assay regrade start` asks no server for."""

from __future__ import annotations

import pytest

from assay.cli.app import run_app

NOBODY = ("--server", "http://127.0.0.1:1")


@pytest.mark.parametrize("flag", ["--since", "--until"])
@pytest.mark.parametrize(
    "text", ["yesterday", "", "2027-01-31", "2027-01-31T23:59:00", "2027-02-31T23:59:00Z"]
)
def test_a_time_that_is_none_is_named_with_its_flag(
    flag: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["regrade", "start", "algebra", *NOBODY, flag, text]) == 2
    wanted = f"assay: {flag} {text}: this must be like 2027-01-31T23:59:00Z\n"
    assert capfd.readouterr().err.replace("  ", " ") == wanted.replace("  ", " ")


@pytest.mark.parametrize("text", ["2027-01-31T23:59:00Z", "2027-01-31T23:59:00.5+01:00"])
def test_a_time_with_its_zone_is_sent(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("assay_client")
    assert run_app(["regrade", "start", "algebra", *NOBODY, "--since", text]) == 105
