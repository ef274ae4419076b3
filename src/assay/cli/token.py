"""`assay token`: who may use a server."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import click

from assay.cli.context import Flags
from assay.cli.show import console, print_json, table
from assay.config.server import read_server_settings
from assay.domain.errors import InvalidInput, NotFound
from assay.domain.token import Scope

if TYPE_CHECKING:
    from assay.storage.database import Storage
    from assay.storage.records import TokenRecord

T = TypeVar("T")
_UNITS: Final = {"m": 60, "h": 3600, "d": 86400}

_database = click.option(
    "--database", metavar="URL", help="The server's, if it is not that of the settings."
)
_json = click.option("--json", "as_json", is_flag=True, help="One line of JSON.")


@click.group(
    epilog="""\b
Examples:
  assay token create moodle --scope run
  assay token create dashboard --scope read --expires 90d
  assay token create lms --scope submit --scope teach --courses algebra,logic
  assay token list
  assay token revoke assay_Xk3p
"""
)
def token() -> None:
    """Tokens: who may use a server, and for what.

    They are kept in the server's database, as hashes; the server need not run. One that is revoked
    ends within five seconds. The first one closes a server that was open to all of its machine:
    send that SIGHUP, or start it again.
    """


@token.command("create")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, default=("run",), show_default=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it is good for; may be repeated.",
)  # fmt: skip
@click.option(
    "--courses", metavar="IDS", default="",
    help="Those that it teaches, with commas between. [with teach: all of them]",
)  # fmt: skip
@click.option("--expires", metavar="TIME", help="When it ends: 30d, 12h or 90m from now. [never]")
@click.option("--most-runners", type=int, metavar="N", help="Runners at one time. [any number]")
@click.option(
    "--most-executions", type=int, metavar="N", help="Executions at one time. [any number]"
)
@click.option("--requests-per-second", type=float, metavar="N", help="On average. [any number]")
@click.option("--burst", type=int, metavar="N", help="Requests at once. [two seconds' worth]")
@_database
@_json
@click.pass_obj
def create_(
    flags: Flags,
    *,
    name: str,
    scopes: tuple[str, ...],
    courses: str,
    expires: str | None,
    most_runners: int | None,
    most_executions: int | None,
    requests_per_second: float | None,
    burst: int | None,
    database: str | None,
    as_json: bool,
) -> int:
    """Make a token for the client NAME, and show it: this once.

    \b
    run           runners, executions and files of its own
    submit        hand in for learners, and see of it what learners may
    teach         everybody's submissions, and what is hidden from learners: of all
                  courses, or of those of --courses
    read          statistics, metrics, environments
    environments  change what environments there are
    tokens        make and revoke tokens
    admin         everybody's runners, and events
    """
    from assay.storage.tokens import issue_token

    async def create(storage: Storage) -> tuple[str, TokenRecord]:
        text, record = issue_token(
            name=name,
            scopes=scopes,
            now=await storage.now(),
            lifetime_seconds=_seconds(expires),
            most_runners=most_runners,
            most_executions=most_executions,
            requests_per_second=requests_per_second,
            burst=burst,
            courses=[name.strip() for name in courses.split(",")] if courses else (),
        )
        await storage.add_token(record)
        return text, record

    text, record = _with_storage(flags, database, create)
    if as_json:
        print_json({"token": text, **_as_data(record)})
    else:
        click.echo(text)
        click.echo("Keep it: it is not shown again.", err=True)
    return 0


@token.command("list")
@_database
@_json
@click.pass_obj
def list_(flags: Flags, *, database: str | None, as_json: bool) -> int:
    """List the tokens, with their first letters."""
    records = _with_storage(flags, database, lambda storage: storage.tokens())
    if as_json:
        print_json({"tokens": [_as_data(record) for record in records]})
        return 0
    shown = table("token", "name", "scopes", "made", "ends", "quotas")
    for record in records:
        scopes = " ".join(sorted(record.scopes))
        if record.courses:
            scopes += f" ({', '.join(sorted(record.courses))})"
        shown.add_row(
            f"{record.prefix}…", record.name, scopes, _day(record.created_at), _end(record),
            _quotas(record),
        )  # fmt: skip
    console().print(shown)
    return 0


@token.command("revoke")
@click.argument("token", metavar="TOKEN")
@_database
@click.pass_obj
def revoke_(flags: Flags, *, token: str, database: str | None) -> int:
    """Revoke a token, given by its id or its first letters, as `assay token list` shows them."""

    async def revoke(storage: Storage) -> str:
        wanted = token.rstrip("…")
        known = [record for record in await storage.tokens() if record.revoked_at is None]
        found = [
            record for record in known
            if record.id == wanted or (wanted and wanted.startswith(record.prefix))
        ]  # fmt: skip
        if not found:
            raise NotFound(f"no token is called {token!r}: assay token list")
        if len(found) > 1:
            raise InvalidInput(
                f"{token!r} are the first letters of several tokens; take the id of one:"
                " assay token list --json"
            )
        await storage.revoke_token(found[0].id)
        return found[0].name

    click.echo(f"revoked: {_with_storage(flags, database, revoke)}", err=True)
    return 0


def _with_storage(flags: Flags, database: str | None, work: Callable[[Storage], Awaitable[T]]) -> T:
    from assay.storage.database import Storage

    settings = read_server_settings(flags.settings(), flags={"database": database})

    async def opened() -> T:
        storage = await Storage.open(settings.database)
        try:
            return await work(storage)
        finally:
            await storage.aclose()

    return asyncio.run(opened())


def _seconds(expires: str | None) -> float | None:
    if expires is None:
        return None
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", expires)
    if found is None:
        raise InvalidInput(f"--expires {expires}: this must be like 30d, 12h or 90m")
    return float(int(found[1]) * _UNITS[found[2]])


def _as_data(record: TokenRecord) -> dict[str, object]:
    return {
        "id": record.id,
        "name": record.name,
        "prefix": record.prefix,
        "scopes": sorted(record.scopes),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
        "most_runners": record.most_runners,
        "most_executions": record.most_executions,
        "requests_per_second": record.requests_per_second,
        "burst": record.burst,
        "courses": sorted(record.courses),
    }


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at))


def _end(record: TokenRecord) -> str:
    if record.revoked_at is not None:
        return "revoked"
    return "never" if record.expires_at is None else _day(record.expires_at)


def _quotas(record: TokenRecord) -> str:
    quotas = {
        "runners": record.most_runners,
        "executions": record.most_executions,
        "requests/s": record.requests_per_second,
    }
    return ", ".join(f"{value:g} {what}" for what, value in quotas.items() if value is not None)
