"""`--json`: one line, whatever happens."""

from __future__ import annotations

import base64

import pytest
from command_line import Assay

pytestmark = pytest.mark.root


def test_outcome_measurements_and_output_on_one_line(assay: Assay) -> None:
    found = assay("run", "--json", "--", "bash", "-c", "echo out; echo err >&2; exit 3").json
    assert (found["outcome"], found["code"], found["exit_status"]) == ("exited", 3, 3)
    assert (found["success"], found["signal"]) == (False, None)
    assert (found["stdout"], found["stderr"]) == ("out\n", "err\n")
    assert (found["driver"], found["environment"]) == ("crun", "bash")
    assert found["sandbox"]["create_ms"] > 0
    measured = found["measurements"]
    assert set(measured) == {
        "wall_ns", "cpu_ns", "peak_memory_bytes", "output_bytes", "oom_kills",
    }  # fmt: skip
    assert measured["output_bytes"]["value"] == 8
    assert measured["wall_ns"]["source"] == "agent"
    assert measured["cpu_ns"]["scope"] == "execution"


def test_output_that_is_not_text(assay: Assay) -> None:
    found = assay("run", "--json", "--", "cat", stdin=b"\xff\x00\xfe").json
    assert found["stdout_encoding"] == "base64"
    assert base64.b64decode(found["stdout"]) == b"\xff\x00\xfe"


def test_a_limit(assay: Assay) -> None:
    ended = assay("run", "--json", "--time", "0.5", "--", "sleep", "9")
    assert (ended.json["outcome"], ended.json["clock"]) == ("timed_out", "wall")
    assert ended.status == ended.json["exit_status"] == 124


def test_a_compiler_that_fails(assay: Assay) -> None:
    found = assay("run", "--json", assay.write("wrong.c", "int main( {")).json
    assert (found["step"], found["code"]) == ("compile", 1)
    assert "wrong.c:1" in found["compiler_output"]


def test_an_own_failure(assay: Assay) -> None:
    ended = assay("run", "--json", "-e", "nowhere", "--", "true")
    assert ended.json["error"]["code"] == "unknown_environment"
    assert ended.status == ended.json["exit_status"] == 110
    assert "nowhere" in ended.complaint
