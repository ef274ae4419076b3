"""`assay serve`: warm sandboxes behind an HTTP API."""

from __future__ import annotations

from typing import Any, Final

import click

from assay.cli.context import Flags
from assay.cli.flags import flags_of
from assay.config.options import OPTIONS
from assay.config.server import ServerSettings, read_server_settings

EPILOG: Final = """\b
Examples:
  assay serve --environment python=4 --environment bash
  curl -d '{"environment": "python", "source": "print(6*7)"}' http://127.0.0.1:7200/api/v1/run
  assay token create --scope run moodle      a token for a client on another machine

\b
Signals:
  SIGTERM, SIGINT   take no new work, wait for executions, end; the second one: at once
  SIGHUP            read the certificate and the secret's file again, and forget known tokens

\b
Each option is a variable (ASSAY_SERVER_LISTEN for --listen) and a key of the table [server] in
/etc/assay/assay.toml, too. So is the secret shared with clients, as ASSAY_SERVER_TOKEN or token:
flags are seen by everybody on the machine. Runners, and executions, outlive the server: after a
restart they are where they were. docs/serve.md explains it all.
"""


@click.command(epilog=EPILOG)
@click.option(
    "--environment", "environments", multiple=True, metavar="NAME[=SIZE]",
    help="Offer an environment, and keep so many sandboxes of it ready; may be repeated.",
)  # fmt: skip
@flags_of(OPTIONS)
@click.option("--driver", metavar="NAME", help="Of `assay driver list`. [the fastest that works]")
@click.pass_obj
def serve(
    flags: Flags, /, *, driver: str | None, environments: tuple[str, ...], **options: Any
) -> int:
    """Keep sandboxes warm, and run programs in them for clients over HTTP and WebSocket.

    CodeOcean needs no change: its runner management (strategy poseidon) finds here what it knows.
    """
    base = flags.settings(driver=driver)
    settings = read_server_settings(base, flags=options, environments=environments)
    flags.settings_for_sandboxes(driver=driver)
    return run(settings)


def run(settings: ServerSettings) -> int:
    """Serve until a signal says to stop."""
    import asyncio

    import uvloop

    from assay.bootstrap.server import serve as serve_until_told
    from assay.observe.logs import logging_to

    secret = settings.secret()
    logs = logging_to(
        form=settings.log_format,
        level=settings.log_level,
        secrets=() if secret is None else (secret,),
    )
    with logs, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_until_told(settings, announce=_announce))
    return 0


def _announce(url: str) -> None:
    click.echo(f"Assay serves at {url}")
