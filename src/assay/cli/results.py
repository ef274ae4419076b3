"""`assay results`: what a server's courses were graded with, as a file for other programs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from assay.cli.server import server_options, with_server
from assay.cli.whole_file import whole_file
from assay.domain.errors import InvalidInput

if TYPE_CHECKING:
    from assay_client.http import Http


@click.command(
    epilog="""\b
Examples:
  assay results algebra --format csv --policy best -o algebra.csv
  assay results algebra/sum --learner ada
  assay results algebra/sum --format junit > sum.xml

\b
The server and the token are those of --server and --token, or of the variables
ASSAY_SERVER_URL and ASSAY_TOKEN; the token needs the scope `teach`.
"""
)
@click.argument("what", metavar="COURSE[/TASK]")
@click.option(
    "--format", "format_", type=click.Choice(["json", "csv", "junit"]), default="json",
    show_default=True, help="As what.",
)  # fmt: skip
@click.option(
    "--policy", type=click.Choice(["all", "best", "last"]), default="all", show_default=True,
    help="Which of each learner's for a task.",
)  # fmt: skip
@click.option("--learner", metavar="NAME", help="Of this one only.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
    help="Written when all of it has arrived; else it is printed.",
)  # fmt: skip
@server_options
def results(
    *, what: str, format_: str, policy: str, learner: str | None, output: Path | None, server: str,
    token: str | None,
) -> int:  # fmt: skip
    """Results of a course or of a task, as JSON, CSV or JUnit's XML."""
    course, _, task = what.partition("/")
    if not course or "/" in task:
        raise InvalidInput(f"{what}: write COURSE or COURSE/TASK")

    async def ask(http: Http) -> None:
        path = ("courses", course, *(("tasks", task) if task else ()), "results")
        url = http.url(*path, format=format_, policy=policy, learner=learner)
        async with http.stream("GET", url) as response:
            await _keep(response.content.iter_chunked(1 << 16), output)

    with_server(server, token, ask)
    return 0


async def _keep(chunks: AsyncIterator[bytes], output: Path | None) -> None:
    """A file is there as a whole, or as it was: what broke off is no export."""
    if output is None:
        async for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        return
    with whole_file(output) as file:
        async for chunk in chunks:
            file.write(chunk)
