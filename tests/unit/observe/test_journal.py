"""Events in the log."""

import logging
from dataclasses import fields
from typing import get_args

import pytest

from assay.api.services import Answered
from assay.cluster import events as cluster
from assay.domain.errors import PoolExhausted
from assay.driver import guard
from assay.grading import events as grading
from assay.observe.journal import MOST_A_SECOND, Journal
from assay.pool import events as pool
from assay.runners import events as runners
from assay.storage import events as storage

FAILED = pool.ClaimFailed(
    environment="python", owner="t", waited_seconds=10.0, error=PoolExhausted("none", detail="x")
)


def records(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [getattr(record, "fields", {}) for record in caplog.records]


def test_an_event_is_a_line_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "assay"):
        Journal().on_event(FAILED)
    (record,) = caplog.records
    assert (record.name, record.levelname, record.message) == (
        "assay.pool",
        "WARNING",
        "claim failed",
    )
    assert records(caplog) == [
        {
            "environment": "python",
            "owner": "t",
            "waited_seconds": 10.0,
            "error": {"code": "pool_exhausted", "message": "none", "detail": "x"},
        }
    ]


def test_a_storm_of_events_is_no_storm_of_lines(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    journal = Journal(clock=lambda: now)
    with caplog.at_level("INFO", "assay"):
        for _ in range(1000):
            journal.on_event(FAILED)
        journal.on_event(storage.DatabaseBack(seconds=1.0))
        assert len(caplog.records) == MOST_A_SECOND + 1
        now = 101.0
        journal.on_event(FAILED)
    assert records(caplog)[-1]["left_out"] == 1000 - MOST_A_SECOND


def test_what_is_not_told_at_this_level_is_not_counted(caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal()
    answered = Answered(method="GET", route="/x", status=200, seconds=0.1)
    with caplog.at_level("INFO", "assay"):
        journal.on_event(answered)
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "assay"):
        journal.on_event(answered)
    assert records(caplog) == [{"method": "GET", "route": "/x", "status": 200, "seconds": 0.1}]


QUIET = {guard.SandboxConnected, pool.PoolChanged, storage.Committed}


@pytest.mark.parametrize(
    "kind",
    [
        *get_args(grading.Event),
        *get_args(guard.Event),
        *get_args(pool.Event),
        *get_args(runners.RunnersEvent),
        *get_args(storage.Event),
        *get_args(cluster.Event),
        Answered,
    ],
)
def test_every_kind_of_event_is_told_or_left_out_on_purpose(
    kind: type, caplog: pytest.LogCaptureFixture
) -> None:
    event = kind(**{field.name: None for field in fields(kind)})
    with caplog.at_level(logging.DEBUG, "assay"):
        Journal().on_event(event)
    assert len(caplog.records) == (kind not in QUIET)
