"""`claims`: how long one waits for a runner, warm or missing, and for a keystroke's echo."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import Final

from assay.agent.session import open_session
from assay.bench.figures import Check, Unit
from assay.bench.load.control import Generator
from assay.bench.load.journal import Requests, percentile
from assay.bench.load.plan import Claims, Keys, Lease, Program, Release
from assay.bench.load.report import Latency, LoadReport, at_most, none_of
from assay.bench.load.setting import Setting
from assay.bench.subject import Subject

WARM_SECONDS: Final = 0.010
MORE_SECONDS: Final = 0.010
ECHO_SECONDS: Final = 0.010
_WARM, _MISSING = "bash", "python"
_POOL: Final = 16
_ECHO: Final = 'stty raw -echo; printf R; while read -rN1 key; do printf %s "$key"; done'


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimsOptions:
    """The profile's options."""

    claims: int = 200
    rate: float = 2.0
    missing: int = 30
    keys: int = 500
    seed: int = 1


async def measure(setting: Setting, options: ClaimsOptions, subject: Subject | None) -> LoadReport:
    """Claim and type. `subject`: the driver, to be measured alone beside it. Raises LoadFailed."""
    alone: list[float] = []
    missing = Requests()
    async with (
        setting.target({_WARM: _POOL, _MISSING: 0}) as target,
        setting.generator(target) as generator,
    ):
        warm = await generator.do(
            Claims(environment=_WARM, rate=options.rate, count=options.claims, seed=options.seed)
        )
        if subject is not None:
            await _missing(setting, generator, subject, options.missing, missing, alone)
        await generator.do(Lease(environment=_WARM, count=1))
        keys = await generator.do(Keys(program=_typing(), count=options.keys))
        await generator.do(Release())
    return _report(setting, options, warm.claims, missing, alone, keys.others)


def _typing() -> Program:
    return Program(
        name="answers each key", environment=_WARM, argv=("/bin/bash", "-c", _ECHO), expected="",
        stdin=True, wall_seconds=120,
    )  # fmt: skip


async def _missing(
    setting: Setting,
    generator: Generator,
    subject: Subject,
    count: int,
    found: Requests,
    alone: list[float],
) -> None:
    """A claim of what is not there, and a sandbox by the driver alone, in turns."""
    one = Claims(environment=_MISSING, rate=10, count=1, poisson=False)
    for done in range(-1, count):
        if setting.stopped:
            return
        started = time.perf_counter()
        async with open_session(subject.driver, subject.specification()):
            seconds = time.perf_counter() - started
        result = await generator.do(one)
        if done >= 0:  # the first round finds nothing in the caches
            alone.append(seconds)
            found.scheduled += result.claims.scheduled
            found.seconds += result.claims.seconds
            found.problem += result.claims.problem
        setting.told({"what": "missing sandboxes", "done": done + 1, "whole": count})


def _report(
    setting: Setting,
    options: ClaimsOptions,
    warm: Requests,
    missing: Requests,
    alone: list[float],
    echoes: Requests,
) -> LoadReport:
    errors = {**warm.errors, **missing.errors, **echoes.errors}
    return LoadReport(
        profile="claims",
        title="A runner, warm or missing, and a keystroke's echo",
        settings={
            "server": setting.server or "our own, on this machine",
            "warm": f"{options.claims} claims, {options.rate:g} a second, {_POOL} in stock",
            "missing": f"{options.missing}, in turns with the driver alone",
            "keys": f"{options.keys}, one each 20 ms",
        },
        checks=tuple(_checks(warm, missing, alone, echoes, sum(errors.values()))),
        latencies=(
            Latency(name="claim of a warm runner", samples=tuple(warm.good)),
            Latency(name="claim of a missing one", samples=tuple(missing.good)),
            Latency(name="the driver alone, to a connected agent", samples=tuple(alone)),
            Latency(name="a keystroke's echo", samples=tuple(echoes.good)),
        ),
        errors=errors,
        stopped=setting.stopped,
    )


def _checks(
    warm: Requests, missing: Requests, alone: list[float], echoes: Requests, failed: int
) -> list[Check]:
    checks = [none_of("nothing fails", failed)]
    p99 = percentile(sorted(warm.good), 99)
    checks.append(at_most("claim from a warm pool, p99 < 10 ms", p99, WARM_SECONDS, Unit.SECONDS))
    if missing.good and alone:
        more = median(missing.good) - median(alone)
        checks.append(at_most(
            "claim of a missing sandbox: at most 10 ms more than the driver alone (medians)",
            more, MORE_SECONDS, Unit.SECONDS,
        ))  # fmt: skip
    p95 = percentile(sorted(echoes.good), 95)
    checks.append(at_most("a keystroke's echo, p95 < 10 ms", p95, ECHO_SECONDS, Unit.SECONDS))
    return checks
