"""`assay bench delays`: the five delays of submissions to a real server."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Final

import click

from assay.bench import Report
from assay.cli.bench_load import interruptible, require_client, shown
from assay.cli.bench_output import STANDARD_OUTPUT, as_document, json_option, write
from assay.cli.bench_table import show
from assay.cli.context import Flags
from assay.cli.exit_status import Status

if TYPE_CHECKING:
    from assay.bench.load.delays import Plan
    from assay.bench.load.setting import Setting

_EPILOG: Final = """\b
Examples:
  assay bench delays
  assay bench delays --learners 32 --submissions 1000 --json delays.json

A server of our own, with temporary state and SQLite, grades a Python task of five cases, each in a
sandbox of its own. docs/queue.md says what each delay is. The exit status is 1 when the five do
not explain what learners see.
"""


@click.command("delays", epilog=_EPILOG)
@click.option(
    "--learners", type=click.IntRange(1, 1000), default=8, show_default=True, metavar="N",
    help="At the same time; each waits for the result, and hands in again.",
)  # fmt: skip
@click.option(
    "--submissions", type=click.IntRange(min=2), default=200, show_default=True, metavar="N",
    help="Of all of them together.",
)  # fmt: skip
@click.option("--driver", metavar="NAME", help="Of the server. [the fastest that works]")
@json_option
@click.pass_obj
def delays(
    flags: Flags, /, *, learners: int, submissions: int, driver: str | None, json_to: str | None
) -> int:
    """Sending, waiting, booting, grading and response, of learners at the same time."""
    require_client()
    from assay.bench.load.delays import Plan
    from assay.bench.load.setting import Setting

    load = os.getloadavg()[0]
    flags.settings_for_sandboxes(driver=driver)
    plan = Plan(learners=learners, submissions=submissions)
    with shown(quiet=json_to == STANDARD_OUTPUT) as told:
        try:
            report = asyncio.run(_measured(Setting(told=told, driver=driver), plan))
        except asyncio.CancelledError:
            return Status.CANCELLED
    if json_to != STANDARD_OUTPUT:
        show(report)
    if json_to is not None:
        write(json_to, json.dumps(as_document([report], load), indent=2))
    return 0 if report.kept else Status.FAILED


async def _measured(setting: Setting, plan: Plan) -> Report:
    from assay.bench.load.delays import measure

    with interruptible(setting):
        return await measure(setting, plan)
