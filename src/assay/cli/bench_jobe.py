"""`assay bench jobe`: what Jobe's API serves, beside the bare machine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from assay.cli.bench_load import answer, interruptible, require_client, shown
from assay.cli.bench_output import STANDARD_OUTPUT, writable
from assay.cli.context import Flags
from assay.cli.exit_status import Status

if TYPE_CHECKING:
    from assay.bench.load.jobe import Jobe
    from assay.bench.load.report import LoadReport
    from assay.bench.load.setting import Setting

_EPILOG: Final = """\b
Examples:
  assay bench jobe
  assay bench jobe --seconds 20 --rounds 5 --json jobe.json

A server of our own, with temporary state, runs C and Python hellos for clients of Jobe, and the
machine alone compiles and runs the same in turns with it. The exit status is 1 when the API serves
less than half of that. docs/jobe.md says more.
"""


@click.command("jobe", epilog=_EPILOG)
@click.option("--driver", metavar="NAME", help="Of the server. [the fastest that works]")
@click.option(
    "--seconds", type=click.FloatRange(min=0.1), default=5.0, show_default=True, metavar="S",
    help="Of each turn.",
)  # fmt: skip
@click.option(
    "--rounds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N",
    help="Turns of each program.",
)  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N",
    help="Runs asked for at one time. [twice the processors]",
)  # fmt: skip
@click.option(
    "--json", "json_to", metavar="[FILE]", is_flag=False, flag_value=STANDARD_OUTPUT,
    callback=writable,
    help="Write the numbers to FILE, too; without FILE, print them in place of the tables.",
)  # fmt: skip
@click.pass_obj
def jobe(
    flags: Flags,
    /,
    *,
    driver: str | None,
    seconds: float,
    rounds: int,
    workers: int | None,
    json_to: str | None,
) -> int:
    """Programs by Jobe's API, beside a bare loop that compiles and runs the same."""
    require_client()
    from assay.bench.load.jobe import Jobe
    from assay.bench.load.setting import Setting

    flags.settings_for_sandboxes(driver=driver)
    options = Jobe(
        seconds=seconds, rounds=rounds, **({} if workers is None else {"workers": workers})
    )
    with shown(quiet=json_to == STANDARD_OUTPUT) as told:
        try:
            report = asyncio.run(_measured(Setting(told=told, driver=driver), options))
        except asyncio.CancelledError:
            return Status.CANCELLED
    answer(report, json_to, None)
    return 0 if report.kept else Status.FAILED


async def _measured(setting: Setting, options: Jobe) -> LoadReport:
    from assay.bench.load import jobe as profile

    with interruptible(setting):
        return await profile.measure(setting, options)
