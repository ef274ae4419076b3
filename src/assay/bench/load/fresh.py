"""`fresh`: every execution has a sandbox that nobody had, and that nobody has after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from assay.bench.figures import Check, Unit
from assay.bench.floor import bare_sandbox
from assay.bench.load.aftermath import Left, left_by
from assay.bench.load.journal import NEVER, Result, percentile
from assay.bench.load.plan import Fresh, Program, greeting, waiting
from assay.bench.load.report import (
    Latency,
    LoadReport,
    Table,
    at_most,
    none_of,
    over_time,
    start_latency,
)
from assay.bench.load.setting import Setting, Watch

START_SECONDS: Final = 0.250
_WAYS: Final = {
    "run": "POST /run",
    "runners": "POST /runners, execute and its WebSocket, DELETE",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class FreshOptions:
    """The profile's options."""

    rate: float = 120.0
    seconds: float = 60.0
    over: str = "run"
    pool: int = 96
    """Idle sandboxes that the pool holds ready."""
    wait: float = 0.0
    """How long each program waits; seconds."""
    seed: int = 1

    @property
    def program(self) -> Program:
        """What each one runs."""
        return waiting(self.wait) if self.wait else greeting()

    @property
    def most_sandboxes(self) -> int:
        """Room for what is idle, what runs, and what is on its way out."""
        return round(2 * self.pool + self.rate * (self.wait + 10)) + 100


async def measure(setting: Setting, options: FreshOptions) -> LoadReport:
    """Make the load, and say whether it was served as promised. Raises LoadFailed."""
    job = Fresh(
        program=options.program, rate=options.rate, seconds=options.seconds, seed=options.seed,
        over=options.over,
    )  # fmt: skip
    pools = {options.program.environment: options.pool}
    most = ("--most-sandboxes", str(options.most_sandboxes))
    # Of another one's machine nothing is known.
    bare = None if setting.server else await bare_sandbox(options.program.argv[0])
    async with setting.target(pools, options=most) as target:
        async with setting.generator(target) as generator, Watch(target, generator) as watch:
            result = await generator.do(job)
        left = await left_by(target)
    return _report(setting, options, result, watch, left, bare)


# --- the report ----------------------------------------------------------------------------------


def _report(
    setting: Setting,
    options: FreshOptions,
    result: Result,
    watch: Watch,
    left: Left,
    bare: float | None,
) -> LoadReport:
    start = start_latency(result)
    return LoadReport(
        profile="fresh",
        title=f"{options.rate:g} executions a second for {options.seconds:g} s,"
        " each with a fresh lease",
        settings=_settings(options, setting),
        checks=tuple(_checks(result, left, start)),
        latencies=(start, *_other_latencies(result)),
        series=(over_time(start, (50, 99)), watch.cores(), watch.memory()),
        tables=(_spent(watch, result, bare), _happened(result, left)),
        errors={**result.executions.errors, **result.claims.errors, **result.releases.errors},
        stopped=setting.stopped,
    )


def _checks(result: Result, left: Left, start: Latency) -> list[Check]:
    journal = result.executions
    failed = sum(1 for problem in journal.problem if problem)
    return [
        none_of(f"each of {len(journal.problem):,} executions succeeds", failed),
        at_most(
            "start p99 ≤ 250 ms", percentile(sorted(start.samples), 99), START_SECONDS, Unit.SECONDS
        ),
        *left.checks,
    ]


def _other_latencies(result: Result) -> list[Latency]:
    journal = result.executions
    done = [
        (scheduled, dispatched, seated, ended)
        for scheduled, dispatched, seated, ended in zip(
            journal.scheduled, journal.dispatched, journal.seated, journal.ended, strict=True
        )
        if NEVER not in (seated, ended)
    ]
    return [
        Latency(
            name="until its result was there, from the same moment",
            samples=tuple(ended - scheduled for scheduled, _, _, ended in done),
        ),
        Latency(
            name="part of the first: until it had its sandbox",
            samples=tuple(seated - dispatched for _, dispatched, seated, _ in done),
        ),
        Latency(
            name="part of the first: how late the generator itself was",
            samples=tuple(dispatched - scheduled for scheduled, dispatched, _, _ in done),
        ),
        Latency(name="giving back", samples=tuple(result.releases.good)),
    ]


def _settings(options: FreshOptions, setting: Setting) -> dict[str, str]:
    return {
        "server": setting.server or "our own, on this machine",
        "driver": setting.driver or "the fastest that works",
        "way": _WAYS[options.over],
        "program": options.program.name,
        "stock": f"{options.pool} idle sandboxes",
        "seed": f"{options.seed}",
    }


def _spent(watch: Watch, result: Result, bare: float | None) -> Table:
    count = sum(1 for problem in result.executions.problem if not problem) or 1
    rows = [
        (name, *(("unknown",) * 2 if seconds is None else _shares(seconds, watch.seconds, count)))
        for name, seconds in watch.spent.items()
    ]
    if bare is not None:
        each = (watch.spent["the whole machine"] or 0.0) / count
        rows.append(("a bare sandbox of this program, alone", "", f"{bare * 1000:.2f}"))
        rows.append(("the whole machine, beside that", "", f"{each / bare:.1f} ×"))
    return Table(
        name="processors' time", head=("who", "cores", "ms each execution"), rows=tuple(rows)
    )


def _shares(seconds: float, whole: float, count: int) -> tuple[str, str]:
    return f"{seconds / max(whole, 1e-3):.3f}", f"{seconds / count * 1000:.2f}"


def _happened(result: Result, left: Left) -> Table:
    rows = (
        ("executions", f"{len(result.executions.scheduled):,}"),
        ("most at one time", f"{result.most_at_once:,}"),
        ("until the pool was at its target again", f"{left.seconds:.1f} s"),
    )
    return Table(name="what happened", head=("what", "how much"), rows=rows)
