"""`assay bench profile`: where an execution's microseconds go."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from assay.cli.bench_load import require_client
from assay.cli.bench_output import writable, write
from assay.cli.bench_table import progress_bar
from assay.cli.context import Flags
from assay.cli.exit_status import Status
from assay.cli.interrupts import Interrupts
from assay.domain.errors import InvalidInput

if TYPE_CHECKING:
    from assay.bench.profile.findings import Profile, Way

_WIDTH: Final = 140
_EPILOG: Final = """\b
Examples:
  assay bench profile
  assay bench profile --driver crun --name before --json before.json
  assay bench profile --beside before.json --svg profile.svg

A server of its own runs with probes in it, which take a part of what they show (a tenth or so):
compare profiles with profiles. docs/performance.md says what is in each part.
"""


@click.command("profile", epilog=_EPILOG)
@click.option("--driver", metavar="NAME", help="[the fastest that works]")
@click.option(
    "--count", type=click.IntRange(min=10), default=200, show_default=True, metavar="N",
    help="Executions in each way.",
)  # fmt: skip
@click.option("--name", default="now", show_default=True, help="What to call it.")
@click.option(
    "--beside", multiple=True, metavar="FILE",
    help="JSON of an earlier run, to be drawn first; may be repeated.",
)  # fmt: skip
@click.option(
    "--json", "json_to", metavar="FILE", callback=writable, help="Write the numbers to FILE."
)
@click.option("--svg", "svg_to", metavar="FILE", callback=writable, help="Write a picture to FILE.")
@click.pass_obj
def profile(
    flags: Flags,
    /,
    *,
    driver: str | None,
    count: int,
    name: str,
    beside: tuple[str, ...],
    json_to: str | None,
    svg_to: str | None,
) -> int:
    """Where a warm execution's and a fresh lease's microseconds go."""
    require_client()
    former = [_read(Path(each)) for each in beside]
    flags.settings_for_sandboxes(driver=driver)
    try:
        found = asyncio.run(_measured(flags, driver, count, name))
    except asyncio.CancelledError:
        return Status.CANCELLED
    _show(found)
    _write([*former, found], json_to, svg_to)
    return 0


async def _measured(flags: Flags, driver: str | None, count: int, name: str) -> Profile:
    import assay
    from assay.bench.profile.executions import measure
    from assay.bench.profile.findings import Profile
    from assay.bootstrap import choose_driver

    driver = driver or await choose_driver(flags.settings())
    with Interrupts().watched(), progress_bar() as progress:
        ways = await measure(driver, count, progress)
    return Profile(
        name=name, version=assay.__version__, driver=driver, machine=_machine(), ways=ways
    )


def _machine() -> dict[str, Any]:
    machine = os.uname()
    return {
        "kernel": machine.release,
        "architecture": machine.machine,
        "processors": len(os.sched_getaffinity(0)),
        "load_after": os.getloadavg()[0],
    }


def _read(path: Path) -> Profile:
    from assay.bench.profile.findings import from_json

    try:
        return from_json(path.read_bytes())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise InvalidInput(f"{path} is no profile: {error}") from error


def _write(profiles: Sequence[Profile], json_to: str | None, svg_to: str | None) -> None:
    from assay.bench.profile.findings import to_data
    from assay.bench.profile.picture import picture

    if json_to is not None:
        write(json_to, json.dumps(to_data(profiles[-1]), indent=1))
    if svg_to is not None:
        write(svg_to, picture(profiles))


def _show(found: Profile) -> None:
    console = Console(width=None if os.isatty(1) else _WIDTH)
    ways = found.ways
    for title, columns in (
        ("from the request to the answer, medians, µs", [way.clock for way in ways]),
        ("processor's time of the server for each execution, µs", [way.server for way in ways]),
        ("processor's time of everybody for each execution, µs", [way.processes for way in ways]),
    ):
        console.print(_table(title, ways, columns))


def _table(title: str, ways: Sequence[Way], columns: Sequence[Mapping[str, float | None]]) -> Table:
    shown = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("what")
    for way in ways:
        shown.add_column(way.name, justify="right")
    for name in dict.fromkeys(name for column in columns for name in column):
        shown.add_row(name, *(_amount(column.get(name)) for column in columns))
    return shown


def _amount(microseconds: float | None) -> str:
    return "unknown" if microseconds is None else f"{microseconds:,.0f}"
