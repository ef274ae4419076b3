"""`assay bench queue`: submissions taken in and handed out, durably."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import click

from assay.cli.bench_output import (
    STANDARD_OUTPUT,
    as_document,
    json_option,
    run_in_servers_loop,
    write,
)
from assay.cli.bench_table import progress_bar, show
from assay.cli.exit_status import Status
from assay.cli.interrupts import Interrupts
from assay.domain.errors import InvalidInput

if TYPE_CHECKING:
    from assay.bench import Report, queue
    from assay.grading.submissions import Submissions

_EPILOG: Final = """\b
Examples:
  assay bench queue                                    SQLite, in a file beneath the current folder
  assay bench queue --database postgresql://assay@host/empty
  assay bench queue --submissions 2000 --waiting 10000 --json queue.json

The database must have no submissions, and keeps those of the benchmark. A file of our own goes.
docs/queue.md says what is measured. The exit status is 1 when a promise is not kept.
"""


@click.command("queue", epilog=_EPILOG)
@click.option("--database", metavar="URL", help="An empty one. [SQLite, in a file of its own]")
@click.option(
    "--submissions", type=click.IntRange(min=100), default=10_000, show_default=True, metavar="N",
    help="Taken in and handed out at the same time.",
)  # fmt: skip
@click.option(
    "--waiting", type=click.IntRange(min=100), default=100_000, show_default=True, metavar="N",
    help="In the queue, while as many again go through.",
)  # fmt: skip
@json_option
def bench_queue(database: str | None, submissions: int, waiting: int, json_to: str | None) -> int:
    """Submissions taken in and handed out a second, acknowledgements, and memory."""
    from assay.bench import queue

    load = os.getloadavg()[0]
    plan = queue.Plan(submissions=submissions, waiting=waiting)
    try:
        report = run_in_servers_loop(_measure(database, plan))
    except asyncio.CancelledError:
        return Status.CANCELLED
    if json_to != STANDARD_OUTPUT:
        show(report)
        for remark in report.remarks:
            click.echo(f"{remark.driver}: {remark.what}: {remark.reason}")
    if json_to is not None:
        write(json_to, json.dumps(as_document([report], load), indent=2))
    return 0 if report.kept and not report.remarks else Status.FAILED


async def _measure(database: str | None, plan: queue.Plan) -> Report:
    from assay.bench import queue

    with Interrupts().watched():
        async with _opened(database) as submissions:
            if await submissions.page(most=1):
                raise InvalidInput(
                    "there are submissions in this database already: name an empty one"
                )
            with progress_bar() as progress:
                return await queue.measure(
                    submissions, submissions.store.kind, plan=plan, progress=progress
                )


@contextlib.asynccontextmanager
async def _opened(database: str | None) -> AsyncIterator[Submissions]:
    from assay.grading.submissions import Submissions

    with contextlib.ExitStack() as stack:
        if database is None:
            # Not in /tmp: that may be memory.
            folder = tempfile.TemporaryDirectory(prefix=".assay-bench-queue-", dir=".")
            database = f"sqlite:///{os.path.abspath(stack.enter_context(folder))}/server.db"  # noqa: PTH100
        submissions = await Submissions.open(database)
        try:
            yield submissions
        finally:
            await submissions.aclose()
