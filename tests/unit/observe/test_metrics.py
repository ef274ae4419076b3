"""Metrics: what events say, and the document that lists them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from assay.api.forwarding import Forwarded
from assay.api.services import Answered
from assay.cluster import events as cluster
from assay.domain.errors import DriverError, PoolExhausted, StorageError, UnknownEnvironment
from assay.driver import guard
from assay.grading import events as grading
from assay.observe.metrics import Metrics
from assay.pool import events as pool
from assay.runners import events as runners
from assay.runners.runners import Runners
from assay.runners.values import EndReason, State
from assay.storage import events as storage

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
BROKEN = DriverError("broken")

EVENTS: Sequence[object] = (
    guard.SandboxCreated(sandbox_id="s", seconds=0.02),
    guard.SandboxConnected(sandbox_id="s", seconds=0.001),
    guard.SandboxDestroyed(sandbox_id="s", seconds=0.01),
    guard.DriverFailed(operation="create", error=BROKEN),
    pool.SandboxAdded(environment="python", seconds=0.03),
    pool.SandboxFailed(environment="python", error=BROKEN, retry_seconds=1.0),
    pool.SandboxUnhealthy(environment="python", sandbox_id="s", reason="silent"),
    pool.SandboxNotDestroyed(sandbox_id="s", error=BROKEN),
    pool.Claimed(environment="python", owner="t", waited_seconds=0.004, from_stock=True),
    pool.ClaimFailed(
        environment="python", owner="t", waited_seconds=10.0, error=PoolExhausted("none")
    ),
    runners.RunnerCreated(runner_id="r", environment="python", owner="t", seconds=0.005),
    runners.RunnerEnded(
        runner_id="r", environment="python", owner="t", reason=EndReason.IDLE, seconds=5.0
    ),
    runners.RunnerReconnected(runner_id="r", seconds=0.1, executions=1),
    runners.ExecutionStarted(
        runner_id="r", execution_id="e", environment="python", mode="poseidon"
    ),
    runners.ExecutionEnded(
        runner_id="r",
        execution_id="e",
        environment="python",
        mode="poseidon",
        outcome="exited",
        seconds=2.0,
        first_output_seconds=0.02,
    ),
    runners.RunFinished(environment="python", outcome="exited", wait_seconds=0.01, seconds=0.3),
    Answered(method="GET", route="/api/v1/runners/{runner_id}", status=200, seconds=0.002),
    Forwarded(status=200),
    cluster.ServersChanged(living=3),
    cluster.TookOver(server="http://b", epoch=4, runners=5, seconds=0.2),
    grading.Graded(
        submission="s", course="c", task="t", regrade=False, waited_seconds=0.2, seconds=0.5
    ),
    grading.Graded(
        submission="s", course="c", task="t", regrade=True, waited_seconds=900.0, seconds=0.5
    ),
    grading.GradingFailed(
        submission="s",
        course="c",
        task="t",
        regrade=True,
        attempts=1,
        reason="?",
        again_after_seconds=1.0,
    ),
    grading.GradingGivenUp(
        submission="s", course="c", task="t", regrade=False, attempts=8, reason="?"
    ),
    grading.Forgotten(submissions=7),
    storage.Committed(operations=3, seconds=0.001),
    storage.StorageFailed(operation="add_lease", error=StorageError("full")),
)


@dataclass
class Listed:
    state: State


class Leased:
    def __init__(self, environment: str, *states: State) -> None:
        self.environment = pool.PoolStatistics(
            name=environment, target=0, idle=0, creating=0, waiting=0, checking=0, used=0
        )
        self._states = states

    def executions(self) -> list[Listed]:
        return [Listed(state) for state in self._states]


class Served:
    """What metrics ask of the runners."""

    def all(self) -> list[Leased]:
        return [
            Leased("python", State.RUNNING, State.ENDED),
            Leased("python", State.RUNNING),
            Leased("c"),
        ]


POOLS = {
    "python": pool.PoolStatistics(
        name="python", target=5, idle=4, creating=1, waiting=2, checking=1, used=2
    )
}


def metrics_of(*events: object) -> Metrics:
    metrics = Metrics()
    metrics.describe(version="1.0", driver="crun")
    metrics.watch(lambda: POOLS, cast(Runners, Served()))
    for event in events:
        metrics.on_event(event)
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset(labels.items())))


def test_every_kind_of_event_is_recorded_or_is_about_numbers_that_are_asked_for() -> None:
    kinds = {
        *get_args(guard.Event),
        *get_args(pool.Event),
        *get_args(runners.RunnersEvent),
        *get_args(cluster.Event),
        *get_args(storage.Event),
        *get_args(grading.Event),
        Answered,
    }
    left = kinds - {type(event) for event in EVENTS}
    assert left == {
        pool.PoolChanged, storage.DatabaseLost, storage.DatabaseBack, grading.ClaimLost,
        grading.WorkerLost,
    }  # fmt: skip
    for event in EVENTS:
        assert samples(metrics_of(event)).items() - samples(metrics_of()).items()


@pytest.mark.parametrize(
    ("name", "labels", "expected"),
    [
        ("assay_build_info", {"version": "1.0", "driver": "crun"}, 1),
        ("assay_grading_wait_seconds_sum", {"kind": "live"}, 0.2),
        ("assay_grading_wait_seconds_sum", {"kind": "regrade"}, 900.0),
        ("assay_grading_seconds_count", {"kind": "regrade"}, 1),
        ("assay_grading_failures_total", {"kind": "regrade"}, 1),
        ("assay_gradings_given_up_total", {"kind": "live"}, 1),
        ("assay_submissions_forgotten_total", {}, 7),
        ("assay_driver_seconds_sum", {"operation": "create"}, 0.02),
        ("assay_driver_failures_total", {"operation": "create", "code": "driver_error"}, 1),
        ("assay_pool_wait_seconds_count", {"environment": "python", "origin": "stock"}, 1),
        ("assay_claim_failures_total", {"environment": "python", "code": "pool_exhausted"}, 1),
        ("assay_runners_ended_total", {"environment": "python", "reason": "idle"}, 1),
        ("assay_execution_start_seconds_sum", {"environment": "python"}, 0.02),
        ("assay_storage_operations_total", {}, 3),
        ("assay_pool_sandboxes", {"environment": "python", "state": "idle"}, 4),
        ("assay_servers", {}, 3),
        ("assay_forwarded_requests_total", {"status": "200"}, 1),
        ("assay_runners_taken_over_total", {}, 5),
        ("assay_pool_waiting", {"environment": "python"}, 2),
        ("assay_runners", {"environment": "python"}, 2),
        ("assay_executions_running", {"environment": "python"}, 2),
        ("assay_executions_running", {"environment": "c"}, 0),
    ],
)
def test_an_event_is_counted_where_it_belongs(
    name: str, labels: dict[str, str], expected: float
) -> None:
    assert value(metrics_of(*EVENTS), name, **labels) == pytest.approx(expected)


def test_names_that_nobody_gave_an_environment_make_no_series() -> None:
    metrics = metrics_of()
    before = len(samples(metrics))
    for number in range(100):
        metrics.on_event(
            pool.ClaimFailed(
                environment=f"x{number}",
                owner="t",
                waited_seconds=0.0,
                error=UnknownEnvironment("no"),
            )
        )
    assert len(samples(metrics)) == before + 1


def test_a_database_that_is_away_is_shown() -> None:
    metrics = metrics_of()
    seen = [value(metrics, "assay_storage_up")]
    for event in (storage.DatabaseLost(error=StorageError("x")), storage.DatabaseBack(seconds=1)):
        metrics.on_event(event)
        seen.append(value(metrics, "assay_storage_up"))
    assert seen == [1, 0, 1]


def test_two_servers_in_one_process_have_metrics_of_their_own() -> None:
    first, second = metrics_of(*EVENTS), metrics_of()
    assert value(first, "assay_storage_operations_total") == 3
    assert value(second, "assay_storage_operations_total") == 0


def test_the_document_lists_every_metric_with_its_kind_and_labels() -> None:
    documented: dict[str, Any] = {}
    for line in DOCUMENT.read_text().splitlines():
        found = re.match(r"\| `(assay_\w+)` \| (\w+) \| (.*?) \|", line)
        if found:
            documented[found[1]] = (found[2], set(re.findall(r"`(\w+)`", found[3])))
    metrics = metrics_of(*EVENTS)
    there: dict[str, Any] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        if family.name.startswith("assay_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            there[name] = (family.type, labels)
    assert documented == there
