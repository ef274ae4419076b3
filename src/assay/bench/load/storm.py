"""`storm`: one token claims as fast as it can; what do the others feel of it?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Final

from assay.bench.figures import Unit
from assay.bench.load.control import LoadFailed
from assay.bench.load.journal import Requests, percentile
from assay.bench.load.plan import Claims, Storm
from assay.bench.load.report import Latency, LoadReport, Table, at_most, none_of
from assay.bench.load.setting import Setting
from assay.bench.load.target import OwnServer, Target

TIMES: Final = 2.0
_ENVIRONMENT: Final = "bash"
_POOL: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class StormOptions:
    """The profile's options."""

    seconds: float = 30.0
    """Undisturbed, and as long in the storm."""
    rate: float = 4.0
    """Claims a second of the others."""
    workers: int = 100
    """Claims that the storm has on their way all the time."""
    token: str = ""
    """The storm's, on somebody else's server."""
    seed: int = 1


async def measure(setting: Setting, options: StormOptions) -> LoadReport:
    """Claim undisturbed, and in the storm. Raises LoadFailed."""
    quiet = Claims(
        environment=_ENVIRONMENT, rate=options.rate, count=round(options.rate * options.seconds),
        seed=options.seed,
    )  # fmt: skip
    async with setting.target({_ENVIRONMENT: _POOL}) as target:
        token = options.token or await _another_token(target, "storm")
        target.token = target.token if options.token else await _another_token(target, "others")
        async with setting.generator(target) as generator:
            undisturbed = await generator.do(quiet)
            storm = Storm(
                environment=_ENVIRONMENT, workers=options.workers, token=token, claims=quiet
            )
            disturbed = await generator.do(storm)
    return _report(setting, options, undisturbed.claims, disturbed.claims, disturbed.others)


async def _another_token(target: Target, name: str) -> str:
    """A token is who asks: the fair queue and the quotas go by it."""
    if not isinstance(target, OwnServer):
        raise LoadFailed("on another server the storm needs a token of its own: --storm-token")
    made = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "assay", "--state", target.state,
        "token", "create", name, "--scope", "run", "--json",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(target.environment),
    )  # fmt: skip
    output, errors = await made.communicate()
    if made.returncode:
        said = errors.decode(errors="replace").strip()
        raise LoadFailed(f"cannot make a token: {said}")
    return str(json.loads(output)["token"])


def _report(
    setting: Setting,
    options: StormOptions,
    undisturbed: Requests,
    disturbed: Requests,
    storm: Requests,
) -> LoadReport:
    before = percentile(sorted(undisturbed.good), 95)
    during = percentile(sorted(disturbed.good), 95)
    failed = sum(undisturbed.errors.values()) + sum(disturbed.errors.values())
    return LoadReport(
        profile="storm",
        title=f"{options.workers} claims of one token at all times, beside others' claims",
        settings={
            "server": setting.server or "our own, on this machine",
            "others": f"{options.rate:g} claims a second",
            "seconds": f"{options.seconds:g} undisturbed, {options.seconds:g} in the storm",
            "stock": f"{_POOL} warm sandboxes",
        },
        checks=(
            none_of("none of the others' claims fails", failed),
            at_most(
                f"the others' p95 within twice its undisturbed {before * 1000:.1f} ms",
                during, TIMES * before, Unit.SECONDS,
            ),
        ),
        latencies=(
            Latency(name="others' claims, undisturbed", samples=tuple(undisturbed.good)),
            Latency(name="others' claims, in the storm", samples=tuple(disturbed.good)),
            Latency(name="the storm's own claims", samples=tuple(storm.good)),
        ),
        tables=(
            Table(
                name="the storm", head=("what", "how much"),
                rows=(
                    ("claims that were served", f"{len(storm.good):,}"),
                    ("claims that were refused", f"{len(storm.seconds) - len(storm.good):,}"),
                ),
            ),
        ),
        errors={**undisturbed.errors, **disturbed.errors},
        stopped=setting.stopped,
    )  # fmt: skip
