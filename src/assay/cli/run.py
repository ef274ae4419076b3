"""`assay run`."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import click

from assay.bootstrap import Catalogue
from assay.cli.answers import Answer, JsonAnswer, LiveAnswer
from assay.cli.context import Flags
from assay.cli.exit_status import table
from assay.cli.failure import Cancelled, as_own_error
from assay.cli.perform import perform
from assay.cli.progress import shown_progress
from assay.cli.request import Asked, Wishes, understand
from assay.domain.errors import InvalidInput, Unavailable

EPILOG: Final = f"""\b
Examples:
  assay run hello.py                      the ending picks the environment
  assay run sort.c 3 1 2                  compiled first; the rest are its arguments
  assay run --file data.csv report.py     data.csv lies beside the program
  assay run -e python notes               a file that doesn't end in .py
  assay run --time 60 --memory 512 slow.py
  generate | assay run filter.py | head   standard streams are joined, binary-safe
  assay run -- ls -la /                   a command, in the environment bash
  assay run -e c -- gcc --version         a command in another one
  assay run --image debian:12 -- ls -la   a command in an image, pulled on first use
  assay run --image ./course hello.py     in the image of ./course/Dockerfile, built on first use
  assay run --image registry:5000/app     the image's own ENTRYPOINT and CMD
  assay run --server http://127.0.0.1:7200 hello.py    in a warm sandbox of a server
  assay run --json hello.py               outcome, measurements and output as one line of JSON

\b
With a terminal the program has one, too. Without, Ctrl-C goes to the program, and a second one
within 2 seconds cancels it.

\b
The exit status is the program's own, 128 + n if signal n ended it, or else
{table()}
"""

_MOST_SECONDS: Final = click.FloatRange(min=0, min_open=True)
_MOST_MB: Final = click.IntRange(min=1)


class _Run(click.Command):
    """Notices a `--` before the target, which click takes away."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        given = list(args)
        rest = super().parse_args(ctx, args)
        count = len(ctx.params["arguments"]) + (ctx.params["target"] is not None)
        ctx.obj = (ctx.obj, given[-count - 1 : -count or None] == ["--"])
        return rest


@click.command(
    cls=_Run,
    epilog=EPILOG,
    # What follows the program is the program's own.
    context_settings={"allow_interspersed_args": False},
)
@click.option("-e", "--environment", metavar="ENV", help="Of `assay env list`.")
@click.option("--image", metavar="REF", help="Another image than the environment's; see above.")
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@click.option("--time", type=_MOST_SECONDS, metavar="S", help="Seconds on the clock.")
@click.option("--cpu", type=_MOST_SECONDS, metavar="S", help="Processor seconds. [as --time]")
@click.option("--memory", type=_MOST_MB, metavar="MB", help="For all of it, files included.")
@click.option("--output", type=_MOST_MB, metavar="MB", help="Standard output and error.")
@click.option(
    "--file", "files", multiple=True, metavar="PATH",
    type=click.Path(exists=True, path_type=Path),
    help="Put a file or folder beside the program; may be repeated.",
)  # fmt: skip
@click.option(
    "--server", metavar="URL", envvar="ASSAY_SERVER_URL",
    help="In a runner of this server, instead of a sandbox of this machine.",
)  # fmt: skip
@click.option(
    "--token", metavar="TOKEN", envvar="ASSAY_TOKEN",
    help="For the server; better in the variable ASSAY_TOKEN: flags are seen by everybody here.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of live output.")
@click.argument("target", required=False, metavar="FILE-OR-COMMAND")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]...")
@click.pass_obj
def run(
    context: tuple[Flags, bool],
    *,
    environment: str | None,
    image: str | None,
    driver: str | None,
    time: float | None,
    cpu: float | None,
    memory: int | None,
    output: int | None,
    files: tuple[Path, ...],
    server: str | None,
    token: str | None,
    as_json: bool,
    target: str | None,
    arguments: tuple[str, ...],
) -> int:
    """Run a program in a sandbox, as if it ran here.

    A FILE is put into a fresh sandbox, compiled if its language wants that, and run with the
    ARGUMENTS; anything else is the name of a program in the sandbox. What it leaves behind is
    removed with the sandbox.

    With --image the sandbox has the files of an image: of a registry, an oci:FOLDER[:TAG], a
    docker-archive:FILE[:TAG], or a Dockerfile, named by a path that begins with ./ or /. It runs
    with the image's USER, ENV and WORKDIR, and a command is put behind its ENTRYPOINT.

    With --server the sandbox is a warm one of a server, which is given back at the end. What breaks
    is the connection, not the program: it goes on, and so does its output.
    """
    flags, separated = context
    if target is None and image is None:
        raise click.UsageError("Missing argument 'FILE-OR-COMMAND'")
    wishes = Wishes(wall_seconds=time, cpu_seconds=cpu, memory=memory, output=output)
    answer: Answer = JsonAnswer() if as_json else LiveAnswer()
    try:
        asked = Asked(
            target=target, arguments=arguments, separated=separated,
            environment=environment, image=image, files=files,
        )  # fmt: skip
        if server is not None:
            _refuse_for_servers(image=image, driver=driver)
            return _on_server(flags, server, token, asked, wishes, answer)
        settings = flags.settings_for_sandboxes(driver=driver)
        with shown_progress(quiet=as_json) as on_progress:
            request = understand(Catalogue(settings), asked, wishes=wishes, on_progress=on_progress)
        return asyncio.run(perform(settings, request, answer))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return asyncio.run(answer.failed(Cancelled("cancelled")))
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("ASSAY_DEBUG") == "1":
            raise
        return asyncio.run(answer.failed(as_own_error(error)))


def _refuse_for_servers(**options: str | None) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidInput(f"--{name} is for sandboxes of this machine, not for a server's")


def _on_server(
    flags: Flags, url: str, token: str | None, asked: Asked, wishes: Wishes, answer: Answer
) -> int:
    try:
        from assay.cli import remote
    except ModuleNotFoundError as error:
        if error.name != "assay_client":
            raise
        raise Unavailable("--server needs the client: pip install 'assay[client]'") from None
    request = remote.understand(Catalogue(flags.settings()), asked, wishes)
    return asyncio.run(remote.perform(remote.Server(url=url, token=token), request, answer))
