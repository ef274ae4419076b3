"""What all of `assay bench` have in common: options, the event loop, and where numbers go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from assay.bench import Report, as_data
from assay.cli.whole_file import require_writable, whole_file

STANDARD_OUTPUT: Final = "-"
_Result = TypeVar("_Result")

driver_option = click.option(
    "--driver", "drivers", multiple=True, metavar="NAME",
    help="May be repeated: they take turns. [the fastest that works]",
)  # fmt: skip


def writable(ctx: click.Context, parameter: click.Parameter, target: str | None) -> str | None:
    """An option's file, which can be written. Raises InvalidInput before anything is measured."""
    if target is not None and target != STANDARD_OUTPUT and not ctx.resilient_parsing:
        require_writable(Path(target))
    return target


json_option = click.option(
    "--json", "json_to", metavar="[FILE]", is_flag=False, flag_value=STANDARD_OUTPUT,
    callback=writable,
    help="Write every sample to FILE, too; without FILE, print it in place of the tables.",
)  # fmt: skip


def run_in_servers_loop(measuring: Coroutine[Any, Any, _Result]) -> _Result:
    """In the server's event loop, so that its users' figures are these. Raises CancelledError."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measuring)


def as_document(reports: Sequence[Report], load: float) -> dict[str, Any]:
    """For JSON, with what is to be known of the machine."""
    machine = os.uname()
    return {
        "machine": {
            "kernel": machine.release,
            "architecture": machine.machine,
            "processors": len(os.sched_getaffinity(0)),
            "load_before": load,
        },
        "kept": all(report.kept for report in reports),
        "reports": as_data(reports),
    }


def write(target: str, text: str) -> None:
    """To a file, or to standard output. Raises InvalidInput where it can't be written."""
    if target == STANDARD_OUTPUT:
        click.echo(text)
        return
    with whole_file(Path(target)) as file:
        file.write(f"{text.rstrip()}\n".encode())
