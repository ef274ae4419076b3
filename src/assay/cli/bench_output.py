"""What all of `assay bench` have in common: options, the event loop, and where numbers go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from assay.bench import Report, as_data

STANDARD_OUTPUT: Final = "-"
_Result = TypeVar("_Result")

driver_option = click.option(
    "--driver", "drivers", multiple=True, metavar="NAME",
    help="May be repeated: they take turns. [the fastest that works]",
)  # fmt: skip
json_option = click.option(
    "--json", "json_to", metavar="[FILE]", is_flag=False, flag_value=STANDARD_OUTPUT,
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
    """To a file, or to standard output."""
    if target == STANDARD_OUTPUT:
        click.echo(text)
    else:
        Path(target).write_text(f"{text.rstrip()}\n")
