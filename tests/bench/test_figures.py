"""Numbers, and what makes a promise kept."""

from __future__ import annotations

import json

import pytest

from assay.bench import Check, Distribution, Figure, Report, Unit, as_data
from assay.bench.amounts import amount
from assay.bench.figures import at_most_times


def test_a_percentile_is_a_sample_that_so_many_do_not_exceed() -> None:
    hundred = Distribution.of(range(100, 0, -1))
    assert hundred.percentile(95) == 95
    assert hundred.percentile(99) == 99
    assert Distribution.of([7]).percentile(99) == 7
    assert Distribution.of([1, 2, 3]).percentile(0) == 1


def test_the_median_lies_between_two_samples_in_the_middle() -> None:
    assert Distribution.of([4, 1, 3, 2]).median == 2.5


@pytest.mark.parametrize(
    ("value", "at_least", "kept"),
    [(3.0, False, True), (3.1, False, False), (3.0, True, True), (2.9, True, False)],
)
def test_a_limit_itself_keeps_the_promise(value: float, at_least: bool, kept: bool) -> None:
    assert Check(promise="", value=value, limit=3, at_least=at_least).kept is kept


def test_a_tail_is_measured_against_the_floors_median() -> None:
    measured = Distribution.of([1.0] * 98 + [20.0, 30.0])
    check = at_most_times(10, measured, Distribution.of([1.0, 2.0, 3.0]), percent=99)
    assert check.value == 10.0
    assert check.kept
    assert check.promise == "p99 ≤ 10 × floor"


def test_the_tail_of_a_rate_is_its_slow_end() -> None:
    samples = Distribution.of(range(1, 101))
    rate = Figure(driver="d", name="n", unit=Unit.BYTES_PER_SECOND, measured=samples)
    time = Figure(driver="d", name="n", unit=Unit.SECONDS, measured=samples)
    assert (rate.tail(95), time.tail(95)) == (6, 95)


def test_one_broken_promise_breaks_the_report_and_json_says_so() -> None:
    figure = Figure(
        driver="crun",
        name="n",
        unit=Unit.SECONDS,
        measured=Distribution.of([2.0]),
        beside=Distribution.of([1.0]),
        checks=(
            Check(promise="a", value=1, limit=2),
            Check(promise="b", value=3, limit=2, unit=Unit.SECONDS),
        ),
    )
    report = Report(name="exec", title="t", beside="floor", figures=(figure,))
    assert not report.kept
    (data,) = json.loads(json.dumps(as_data([report])))
    assert data["kept"] is False
    assert [check["kept"] for check in data["figures"][0]["checks"]] == [True, False]
    beside = {"median": 1.0, "p95": 1.0, "p99": 1.0, "samples": [1.0]}
    assert data["figures"][0]["beside"] == beside


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0012345, Unit.SECONDS, "1.23 ms"),
        (0.000_04, Unit.SECONDS, "40.0 µs"),
        (12.0, Unit.SECONDS, "12.0 s"),
        (0.0, Unit.BYTES, "0 B"),
        (-4096.0, Unit.BYTES, "-4.10 kB"),
        (1.25e9, Unit.BYTES_PER_SECOND, "1.25 GB/s"),
        (1.694, Unit.TIMES, "1.69 ×"),
        (1234, Unit.COUNT, "1,234"),
    ],
)
def test_amounts_are_shown_with_three_digits_and_a_fitting_unit(
    value: float, unit: Unit, text: str
) -> None:
    assert amount(value, unit) == text
