"""Metrics for Prometheus, made of events, and of the pool's and the runners' numbers when asked.

docs/metrics.md lists them all. Labels have few values: environments, routes, codes of errors, never
names that a client can choose.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from assay.api.forwarding import Forwarded
from assay.api.services import Answered
from assay.cluster import events as cluster
from assay.domain.errors import UnknownEnvironment
from assay.driver import guard
from assay.grading import events as grading
from assay.pool import events as pool
from assay.runners import events as runners
from assay.runners.runners import Runners
from assay.runners.values import State
from assay.storage import events as storage

_SHORT: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
_LONG: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's fault
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._info = self._gauge("assay_build_info", "What serves: 1.", "version", "driver")
        self._records: dict[type, Callable[[Any], None]] = {
            **self._of_driver(), **self._of_pool(), **self._of_runners(), **self._of_executions(),
            **self._of_api(), **self._of_storage(), **self._of_servers(), **self._of_grading(),
        }  # fmt: skip

    def on_event(self, event: object) -> None:
        """Record an event of the guard, pool, runners, API or storage; others are nothing here."""
        record = self._records.get(type(event))
        if record is not None:
            record(event)

    def describe(self, *, version: str, driver: str) -> None:
        """Say what serves, and by which driver."""
        self._info.labels(version, driver).set(1)

    def watch(
        self, pools: Callable[[], Mapping[str, pool.PoolStatistics]], served: Runners
    ) -> None:
        """Ask these for their numbers whenever somebody asks for metrics."""
        self._registry.register(_Numbers(pools, served))

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, about: str, *labels: str) -> Gauge:
        return Gauge(name, about, labels, registry=self._registry)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return _remembering(Counter(name, about, labels, registry=self._registry))

    def _histogram(
        self, name: str, about: str, *labels: str, buckets: tuple[float, ...] = _SHORT
    ) -> Histogram:
        made = Histogram(name, about, labels, buckets=buckets, registry=self._registry)
        return _remembering(made)

    def _of_driver(self) -> dict[type, Callable[[Any], None]]:
        took = self._histogram("assay_driver_seconds", "The driver's work.", "operation")
        failed = self._counter(
            "assay_driver_failures", "What the driver could not do.", "operation", "code"
        )
        created, connected, destroyed = map(took.labels, ("create", "connect", "destroy"))
        return {
            guard.SandboxCreated: lambda event: created.observe(event.seconds),
            guard.SandboxConnected: lambda event: connected.observe(event.seconds),
            guard.SandboxDestroyed: lambda event: destroyed.observe(event.seconds),
            guard.DriverFailed: lambda e: failed.labels(e.operation, e.error.code).inc(),
        }

    def _of_pool(self) -> dict[type, Callable[[Any], None]]:
        created = self._histogram(
            "assay_sandbox_create_seconds", "Until a sandbox was ready for the pool.", "environment"
        )
        failed = self._counter(
            "assay_sandbox_failures", "Sandboxes that could not be made.", "environment", "code"
        )
        unhealthy = self._counter(
            "assay_sandboxes_unhealthy", "Idle sandboxes that were lost.", "environment"
        )
        undestroyed = self._counter(
            "assay_sandboxes_not_destroyed", "Attempts to destroy a sandbox that failed."
        )
        waited = self._histogram(
            "assay_pool_wait_seconds", "From a claim to its sandbox.", "environment", "origin"
        )
        refused = self._counter(
            "assay_claim_failures", "Claims without a sandbox.", "environment", "code"
        )

        def refuse(event: pool.ClaimFailed) -> None:
            # Who names environments that don't exist must not make series of them.
            unknown = isinstance(event.error, UnknownEnvironment)
            refused.labels("" if unknown else event.environment, event.error.code).inc()

        return {
            pool.SandboxAdded: lambda e: created.labels(e.environment).observe(e.seconds),
            pool.SandboxFailed: lambda e: failed.labels(e.environment, e.error.code).inc(),
            pool.SandboxUnhealthy: lambda e: unhealthy.labels(e.environment).inc(),
            pool.SandboxNotDestroyed: lambda e: undestroyed.inc(),
            pool.Claimed: lambda e: waited.labels(
                e.environment, "stock" if e.from_stock else "made"
            ).observe(e.waited_seconds),
            pool.ClaimFailed: refuse,
        }

    def _of_runners(self) -> dict[type, Callable[[Any], None]]:
        created = self._histogram(
            "assay_runner_create_seconds", "From a request to its runner.", "environment"
        )
        ended = self._counter("assay_runners_ended", "Ends of leases.", "environment", "reason")
        again = self._counter(
            "assay_runner_reconnections", "Connections to agents that were made again."
        )
        return {
            runners.RunnerCreated: lambda e: created.labels(e.environment).observe(e.seconds),
            runners.RunnerEnded: lambda e: ended.labels(e.environment, e.reason.name.lower()).inc(),
            runners.RunnerReconnected: lambda e: again.inc(),
        }

    def _of_executions(self) -> dict[type, Callable[[Any], None]]:
        started = self._counter(
            "assay_executions_started", "Programs sent to sandboxes.", "environment", "mode"
        )
        took = self._histogram(
            "assay_execution_seconds", "From an execution's start to its end.",
            "environment", "mode", "outcome", buckets=_LONG,
        )  # fmt: skip
        first = self._histogram(
            "assay_execution_start_seconds", "From its start to its first output.", "environment"
        )
        once = self._histogram(
            "assay_run_seconds", "Programs with a sandbox of their own, once.",
            "environment", "outcome", buckets=_LONG,
        )  # fmt: skip
        waited = self._histogram(
            "assay_run_wait_seconds", "Their wait for the sandbox.", "environment"
        )

        def end(event: runners.ExecutionEnded) -> None:
            took.labels(event.environment, event.mode, event.outcome).observe(event.seconds)
            if event.first_output_seconds is not None:
                first.labels(event.environment).observe(event.first_output_seconds)

        def finish(event: runners.RunFinished) -> None:
            once.labels(event.environment, event.outcome).observe(event.seconds)
            waited.labels(event.environment).observe(event.wait_seconds)

        return {
            runners.ExecutionStarted: lambda e: started.labels(e.environment, e.mode).inc(),
            runners.ExecutionEnded: end,
            runners.RunFinished: finish,
        }

    def _of_grading(self) -> dict[type, Callable[[Any], None]]:
        took = self._histogram(
            "assay_grading_seconds", "Gradings that made a result.", "kind", buckets=_LONG
        )
        waited = self._histogram(
            "assay_grading_wait_seconds", "Their wait in the queue.", "kind", buckets=_LONG
        )
        failed = self._counter(
            "assay_grading_failures", "Attempts that failed, and are repeated.", "kind"
        )
        given_up = self._counter(
            "assay_gradings_given_up", "Submissions that nobody could grade.", "kind"
        )
        forgotten = self._counter("assay_submissions_forgotten", "That were kept long enough.")

        def grade(event: grading.Graded) -> None:
            took.labels(_kind(event)).observe(event.seconds)
            waited.labels(_kind(event)).observe(event.waited_seconds)

        return {
            grading.Graded: grade,
            grading.GradingFailed: lambda e: failed.labels(_kind(e)).inc(),
            grading.GradingGivenUp: lambda e: given_up.labels(_kind(e)).inc(),
            grading.Forgotten: lambda e: forgotten.inc(e.submissions),
        }

    def _of_api(self) -> dict[type, Callable[[Any], None]]:
        took = self._histogram(
            "assay_http_request_seconds", "Answers; a WebSocket's until its end.",
            "method", "route", "status",
        )  # fmt: skip
        return {
            Answered: lambda e: took.labels(e.method, e.route, e.status).observe(e.seconds),
        }

    def _of_storage(self) -> dict[type, Callable[[Any], None]]:
        took = self._histogram("assay_storage_commit_seconds", "Commits to the database.")
        done = self._counter("assay_storage_operations", "Writes and questions that were done.")
        failed = self._counter(
            "assay_storage_failures", "Writes and questions that failed.", "operation"
        )
        up = self._gauge("assay_storage_up", "1: the database is there; 0: it is waited for.")
        up.set(1)

        def commit(event: storage.Committed) -> None:
            took.observe(event.seconds)
            done.inc(event.operations)

        return {
            storage.Committed: commit,
            storage.StorageFailed: lambda e: failed.labels(e.operation).inc(),
            storage.DatabaseLost: lambda e: up.set(0),
            storage.DatabaseBack: lambda e: up.set(1),
        }

    def _of_servers(self) -> dict[type, Callable[[Any], None]]:
        living = self._gauge("assay_servers", "Servers of the database that live.")
        living.set(1)
        passed = self._counter(
            "assay_forwarded_requests", "Requests that another server answered.", "status"
        )
        taken = self._counter("assay_takeovers", "Silent servers that this one took over from.")
        runners_taken = self._counter("assay_runners_taken_over", "Leases that came so.")

        def take_over(event: cluster.TookOver) -> None:
            taken.inc()
            runners_taken.inc(event.runners)

        return {
            cluster.ServersChanged: lambda e: living.set(e.living),
            cluster.TookOver: take_over,
            Forwarded: lambda e: passed.labels(e.status).inc(),
        }


def _kind(event: grading.Graded | grading.GradingFailed | grading.GradingGivenUp) -> str:
    """Whether somebody waited for it: a campaign grades thousands, and slowly."""
    return "regrade" if event.regrade else "live"


_Labelled = TypeVar("_Labelled", Counter, Histogram)


def _remembering(metric: _Labelled) -> _Labelled:
    """Find what belongs to labels at once, which the library checks and locks for each time.

    Nothing is ever removed, and labels have few values.
    """
    metric.labels = functools.cache(metric.labels)  # type: ignore[method-assign]
    return metric


class _Numbers(Collector):
    """What is counted when somebody asks, so that nothing of former environments stays."""

    def __init__(
        self, pools: Callable[[], Mapping[str, pool.PoolStatistics]], served: Runners
    ) -> None:
        self._pools = pools
        self._served = served

    def collect(self) -> Iterable[Metric]:
        """Count."""
        yield from self._of_pools()
        leased: dict[str, int] = {}
        executing: dict[str, int] = {}
        for runner in self._served.all():
            name = runner.environment.name
            leased[name] = leased.get(name, 0) + 1
            running = sum(each.state is State.RUNNING for each in runner.executions())
            executing[name] = executing.get(name, 0) + running
        yield _family("assay_runners", "Leases.", leased)
        yield _family("assay_executions_running", "Programs that run in runners.", executing)

    def _of_pools(self) -> Iterable[Metric]:
        found = self._pools()
        yield _family(
            "assay_pool_target", "Idle sandboxes that are wanted.",
            {name: each.target for name, each in found.items()},
        )  # fmt: skip
        yield _family(
            "assay_pool_waiting", "Claims that wait.",
            {name: each.waiting for name, each in found.items()},
        )  # fmt: skip
        states = GaugeMetricFamily(
            "assay_pool_sandboxes", "Sandboxes.", labels=("environment", "state")
        )
        for name, each in found.items():
            for state in ("idle", "creating", "used"):
                states.add_metric((name, state), getattr(each, state))
        yield states


def _family(name: str, about: str, values: Mapping[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, about, labels=("environment",))
    for environment, value in values.items():
        family.add_metric((environment,), value)
    return family
