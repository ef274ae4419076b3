"""`mooc`: learners run programs, arriving whatever the server does; some leave, others come.

With `kills`, the server is killed and started again meanwhile, and nothing may be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from assay.bench.figures import Check, Unit
from assay.bench.host import available_bytes
from assay.bench.load.accounts import sandbox_bytes
from assay.bench.load.aftermath import Left, left_by
from assay.bench.load.journal import NEVER, Result, percentile
from assay.bench.load.plan import MIXES, Lease, Open, Release, Share, waiting
from assay.bench.load.report import (
    Latency,
    LoadReport,
    Table,
    at_least,
    at_most,
    none_of,
    over_time,
    start_latency,
)
from assay.bench.load.setting import Setting, Watch
from assay.bench.load.target import OwnServer, Target

MEMORY_BYTES: Final = 4_000_000
_POOL: Final = 24
_PATIENCE_SECONDS: Final = 60.0
_SAMPLED: Final = 50
_ENOUGH: Final = 500
"""So many sandboxes take enough that what else the machine does is lost in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mooc:
    """The profile's options."""

    rate: float = 120.0
    seconds: float = 300.0
    runners: int = 1300
    churn: float = 5.6
    mix: str = "wait"
    wait: float = 10.0
    """How long each program of the mix "wait" waits; seconds."""
    seed: int = 1
    kills: int = 0

    @property
    def shares(self) -> Sequence[Share]:
        """The programs."""
        return (Share(program=waiting(self.wait)),) if self.mix == "wait" else MIXES[self.mix]

    def runners_of(self) -> dict[str, int]:
        """Of each environment, by how many of its programs are running at one time."""
        busy: dict[str, float] = {}
        for share in self.shares:
            name, seconds = share.program.environment, share.program.wall_seconds - 20
            busy[name] = busy.get(name, 0.0) + share.weight * max(seconds, 1.0)
        whole = sum(busy.values())
        return {name: max(4, round(self.runners * part / whole)) for name, part in busy.items()}


async def measure(setting: Setting, options: Mooc) -> LoadReport:
    """Make the load, and say whether it was served as promised. Raises LoadFailed."""
    runners = options.runners_of()
    pools = {
        name: max(4, round(_POOL * count / options.runners)) for name, count in runners.items()
    }
    most = str(sum(runners.values()) * 2 + 200)
    async with setting.target(pools, options=("--most-sandboxes", most)) as target:
        available = available_bytes()
        async with setting.generator(target) as generator:
            for name, count in runners.items():
                await generator.do(Lease(environment=name, count=count))
            async with Watch(target, generator) as watch:
                memory = asyncio.ensure_future(_memory(target, options, available, pools))
                async with _killing(target, options) as restarts:
                    result = await generator.do(_job(options))
                memory.cancel()
                await asyncio.wait((memory,))
            await generator.do(Release())
            left = await left_by(target)
    found = None if memory.cancelled() else memory.result()
    return _report(options, result, watch, found, left, restarts, setting)


def _job(options: Mooc) -> Open:
    return Open(
        mix=tuple(options.shares), rate=options.rate, seconds=options.seconds, seed=options.seed,
        churn=options.churn, patience_seconds=_PATIENCE_SECONDS if options.kills else 0.0,
    )  # fmt: skip


# --- meanwhile -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Bytes: of sampled sandboxes each, and of the machine for each; None: too few to tell."""

    sampled: tuple[int, ...]
    each: float | None


async def _memory(
    target: Target, options: Mooc, before: int, pools: Mapping[str, int]
) -> Memory | None:
    """Look when as much is going on as ever."""
    await asyncio.sleep(options.seconds * 0.5)
    ids = target.sandbox_ids()
    if not ids:
        return None
    loop, few = asyncio.get_running_loop(), ids[:: max(1, len(ids) // _SAMPLED)]
    with ThreadPoolExecutor(1, initializer=_give_way) as observer:
        sampled = await loop.run_in_executor(observer, sandbox_bytes, few)
    new = len(ids) - sum(pools.values())
    each = (before - available_bytes()) / new if new >= _ENOUGH else None
    return Memory(sampled=tuple(sampled), each=each)


def _give_way() -> None:
    """Let this thread have what nobody else wants: a second of looking would be seen as load."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


@contextlib.asynccontextmanager
async def _killing(target: Target, options: Mooc) -> AsyncIterator[list[tuple[float, float]]]:
    """Kill the server again and again meanwhile; when that was, and for how long it was away."""
    restarts: list[tuple[float, float]] = []
    if not options.kills or not isinstance(target, OwnServer):
        yield restarts
        return
    task = asyncio.ensure_future(_kill(target, options, restarts))
    try:
        yield restarts
        await task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def _kill(target: OwnServer, options: Mooc, restarts: list[tuple[float, float]]) -> None:
    """In the middle of the load: not before it has built up, and not when it ebbs away."""
    now = asyncio.get_running_loop().time
    began, first, last = now(), options.seconds * 0.1, options.seconds * 0.95
    for number in range(options.kills):
        due = first + (last - first) * (number + 0.5) / options.kills
        await asyncio.sleep(max(0.0, began + due - now()))
        killed = now()
        await target.kill()
        restarts.append((killed - began, now() - killed))


# --- the report ----------------------------------------------------------------------------------


def _report(
    options: Mooc,
    result: Result,
    watch: Watch,
    memory: Memory | None,
    left: Left,
    restarts: Sequence[tuple[float, float]],
    setting: Setting,
) -> LoadReport:
    start = start_latency(result)
    checks = _checks(options, result, watch, memory, left, start)
    return LoadReport(
        profile="mooc",
        title=f"{options.rate:g} executions a second for {options.seconds:g} s, {options.mix}",
        settings=_settings(options, setting),
        checks=tuple(checks),
        latencies=(start, *_other_latencies(result)),
        series=(over_time(start, (50, 99)), watch.cores(), watch.memory()),
        tables=(_spent(watch), _happened(options, result, memory, left, restarts)),
        errors={**result.executions.errors, **result.claims.errors, **result.releases.errors},
        stopped=setting.stopped,
    )


def _other_latencies(result: Result) -> list[Latency]:
    journal = result.executions
    late = [
        dispatched - scheduled
        for scheduled, dispatched in zip(journal.scheduled, journal.dispatched, strict=True)
    ]
    waited = [
        seated - dispatched
        for dispatched, seated in zip(journal.dispatched, journal.seated, strict=True)
        if seated != NEVER
    ]
    return [
        Latency(name="lease", samples=tuple(result.claims.good)),
        Latency(name="giving back", samples=tuple(result.releases.good)),
        Latency(name="part of the first: how late the generator itself was", samples=tuple(late)),
        Latency(name="part of the first: until a learner's runner was free", samples=tuple(waited)),
    ]


def _checks(
    options: Mooc,
    result: Result,
    watch: Watch,
    memory: Memory | None,
    left: Left,
    start: Latency,
) -> list[Check]:
    journal = result.executions
    failed = sum(1 for problem in journal.problem if problem)
    checks = [none_of(f"each of {len(journal.problem):,} executions succeeds", failed)]
    if not options.kills:
        ordered = sorted(start.samples)
        checks += [
            at_most("start p50 < 25 ms", percentile(ordered, 50), 0.025, Unit.SECONDS),
            at_most("start p99 < 250 ms", percentile(ordered, 99), 0.250, Unit.SECONDS),
        ]
    checks += _leases(options, result)
    server = watch.spent["server"]
    if server is not None and not options.kills:
        cores = server / max(watch.seconds, 1e-3)
        checks.append(at_most("the server takes under one core", cores, 1.0, Unit.CORES))
    if memory is not None and options.mix == "wait":
        most = max(memory.sampled, default=0)
        checks.append(
            at_most("a sandbox with its bash < 4 MB (PSS)", most, MEMORY_BYTES, Unit.BYTES)
        )
        if memory.each is not None:
            checks.append(
                at_most("… and of the machine, all told", memory.each, MEMORY_BYTES, Unit.BYTES)
            )
    checks += left.checks
    return checks


def _leases(options: Mooc, result: Result) -> list[Check]:
    if not options.churn:
        return []
    failed = len(result.claims.errors) + len(result.releases.errors)
    turned = min(len(result.claims.good), len(result.releases.good))
    rate = turned / max(options.seconds, 1e-3)
    wanted = min(5.0, options.churn * 0.9)
    return [
        none_of("each lease is given, and given back", failed),
        at_least(f"≥ {wanted:g} leases a second come and go", rate, wanted, Unit.PER_SECOND),
    ]


def _settings(options: Mooc, setting: Setting) -> dict[str, str]:
    return {
        "server": setting.server or "our own, on this machine",
        "rate": f"{options.rate:g} executions/s",
        "seconds": f"{options.seconds:g}",
        "runners": f"{options.runners}, one for each learner",
        "churn": f"{options.churn:g} leases/s",
        "mix": ", ".join(f"{share.program.name} ({share.weight:g})" for share in options.shares),
        "seed": f"{options.seed}",
        "kills": f"{options.kills}",
    }


def _spent(watch: Watch) -> Table:
    rows = [
        (name, "unknown" if seconds is None else f"{seconds / max(watch.seconds, 1e-3):.3f}")
        for name, seconds in watch.spent.items()
    ]
    return Table(name="processors' worth of time", head=("who", "cores"), rows=tuple(rows))


def _happened(
    options: Mooc,
    result: Result,
    memory: Memory | None,
    left: Left,
    restarts: Sequence[tuple[float, float]],
) -> Table:
    sampled = sorted(memory.sampled) if memory is not None else []
    rows = [
        ("executions", f"{len(result.executions.scheduled):,}"),
        ("most at one time", f"{result.most_at_once:,}"),
        ("leases given / given back meanwhile",
         f"{len(result.claims.good):,} / {len(result.releases.good):,}"),
        ("a sandbox's processes (PSS), median of those sampled",
         _megabytes(percentile(sampled, 50) if sampled else None)),
        ("memory of the machine for each sandbox",
         _megabytes(None if memory is None else memory.each)),
        ("streams connected again", f"{result.resumed:,}"),
        ("requests sent again", f"{result.repeated:,}"),
        ("answers to requests for a lease that were lost", f"{result.unanswered:,}"),
        ("until the pool was at its target again", f"{left.seconds:.1f} s"),
    ]  # fmt: skip
    if options.kills:
        away = sorted(seconds for _, seconds in restarts)
        rows += [
            ("kill -9 of the server", f"{len(restarts)}"),
            ("away each time, median / longest",
             f"{percentile(away, 50):.2f} s / {away[-1] if away else 0:.2f} s"),
        ]  # fmt: skip
    return Table(name="what happened", head=("what", "how much"), rows=tuple(rows))


def _megabytes(count: float | None) -> str:
    return "unknown" if count is None else f"{count / 1e6:.2f} MB"
