"""A load's report: promises, percentiles, a page that needs nothing else."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner

from assay.bench.drawing import MISSING
from assay.bench.figures import Unit
from assay.bench.load.page import page
from assay.bench.load.report import (
    Latency,
    LoadReport,
    Series,
    Table,
    as_data,
    at_least,
    at_most,
    none_of,
    over_time,
)
from assay.cli.app import app
from assay.cli.bench_load import progress_line

REPORT = LoadReport(
    profile="mooc",
    title="<b>&",
    settings={"rate": "120/s"},
    checks=(
        at_most("p99 < 250 ms", 0.2, 0.25, Unit.SECONDS),
        at_least("≥ 5 leases a second", 6.0, 5.0, Unit.PER_SECOND),
        none_of("nothing fails", 0),
    ),
    latencies=(Latency(name="start", samples=(0.01, 0.02, 0.03), at=(0.0, 1.0, 9.0)),),
    series=(Series(name="cores", unit="cores", lines={"server": ((0.0, 0.5), (1.0, 0.7))}),),
    tables=(Table(name="who", head=("who", "cores"), rows=(("server", "0.5"),)),),
    errors={"execute: 503": 2},
)


def test_a_report_is_kept_when_each_promise_is_and_nobody_ended_it_early() -> None:
    assert REPORT.kept
    assert not replace(REPORT, checks=(*REPORT.checks, none_of("x", 1))).kept
    assert not replace(REPORT, stopped=True).kept


def test_json_has_percentiles_and_each_promise() -> None:
    data = json.loads(json.dumps(as_data(REPORT)))
    assert data["latencies"][0]["p99"] == 0.03
    assert [check["kept"] for check in data["checks"]] == [True, True, True]
    assert data["errors"] == {"execute: 503": 2}


def test_percentiles_over_time_are_those_of_each_slot() -> None:
    lines = over_time(REPORT.latencies[0], (50,)).lines
    assert [value for _, value in lines["p50"]] == [0.01, 0.02, 0.03]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.loads.append(f"{tag} {value}")


def test_the_page_has_pictures_and_loads_nothing() -> None:
    pytest.importorskip("matplotlib")
    text = page([REPORT], {"kernel": "6"})
    found = _Page()
    found.feed(text)
    assert found.tags.count("svg") == 2
    assert found.loads == []
    assert "script" not in found.tags
    assert "b" not in found.tags, "what is measured is text"
    assert "&lt;b&gt;&amp;" in text
    assert "p99 &lt; 250 ms" in text
    assert not re.search(r"url\((?!#)", text)


def test_without_matplotlib_the_page_says_so_and_has_its_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    text = page([REPORT], {})
    assert "pip install" in text
    assert MISSING.split(":")[0] in text
    assert "<svg" not in text
    assert "execute: 503" in text


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ceiling", "--kill", "2"], "--kill is for another profile"),
        (["claims", "--storm-token", "x"], "--storm-token is for another profile"),
        (["--rate", "0"], "--rate must be more than zero"),
        (["--rate", "-1"], "--rate must not be negative"),
        (["--server", "http://127.0.0.1:9", "--kill", "1"], "--kill is for a server of our own"),
        (["fresh", "--runners", "5"], "--runners is for another profile"),
        (["--over", "run"], "--over is for another profile"),
        (["fresh", "--over", "telegraph"], "is not one of"),
        (["typhoon"], "is not one of"),
    ],
)
def test_options_of_another_profile_are_refused(arguments: list[str], complaint: str) -> None:
    ended = CliRunner().invoke(app, ["bench", "load", *arguments])
    assert complaint in ended.output
    assert ended.exit_code == 2


def test_progress_is_one_line() -> None:
    line = progress_line(
        {
            "what": "executions", "done": 1200, "whole": 36000, "running": 1190, "failed": 0,
            "runners": 1300, "p50": 0.0123, "p99": 0.1,
        }
    )  # fmt: skip
    assert line == (
        "executions 1,200/36,000 · 1,190 at once in 1,300 runners · 0 failed"
        " · start p50 12.3 ms, p99 100.0 ms"
    )
