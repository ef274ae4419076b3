"""Commands that ask a server: its address, the token, its answers, and errors as ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from assay.domain.errors import Unavailable

if TYPE_CHECKING:
    from assay_client.http import Http

T = TypeVar("T")
Command = Callable[..., Any]


def server_options(command: Command) -> Command:
    """--server and --token."""
    token = click.option(
        "--token", metavar="TOKEN", envvar="ASSAY_TOKEN",
        help="For the server; better in the variable ASSAY_TOKEN.",
    )  # fmt: skip
    server = click.option(
        "--server", metavar="URL", envvar="ASSAY_SERVER_URL",
        default="http://127.0.0.1:7200", show_default=True, help="Which server.",
    )  # fmt: skip
    return server(token(command))


def with_server(url: str, token: str | None, ask: Callable[[Http], Awaitable[T]]) -> T:
    """What comes of asking. Raises AssayError, as the server says it."""
    try:
        from assay.cli import remote
        from assay_client.http import Http, Patience
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "assay_client":
            raise
        raise Unavailable("this needs the client: pip install 'assay[client]'") from None

    async def run() -> T:
        with remote.own_errors():
            http = Http(url, token, patience=Patience(request_seconds=3.0))
            await http.open()
            try:
                return await ask(http)
            finally:
                await http.aclose()

    return asyncio.run(run())


async def call(
    http: Http, method: str, *path: str, body: object = None, again: bool = True, **query: Any
) -> Any:
    """One request; its JSON."""
    content = await http.call(
        method, http.url(*path, **query), body=body, answer=bytes, again=again, seconds=120.0
    )
    return msgspec.json.decode(content)
