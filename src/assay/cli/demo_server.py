"""The end of `./dev demo`: a server, to try its API with curl or to point CodeOcean at."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from rich.console import Console

from assay.bootstrap import Catalogue
from assay.cli.failure import explanation
from assay.cli.interrupts import run_watched
from assay.cli.show import bad
from assay.config import Settings
from assay.config.options import Address
from assay.config.server import ConfiguredEnvironment, ServerSettings
from assay.domain.errors import Unavailable

_SHOWN: Final = ("python", "bash", "c")
_WARM: Final = 2
_DATABASE: Final = "demo.db"
_LISTEN: Final = Address(host="127.0.0.1", port=7200)
_REQUEST: Final = {"environment": "python", "source": "print(6 * 7)"}


def serve_demo(settings: Settings, catalogue: Catalogue, out: Console) -> int:
    """Serve until Ctrl-C; where nobody looks on, show one request and stop. Leaves nothing."""
    server = _server_settings(settings, catalogue)
    if not server.environments:
        return 0
    stay = sys.stdin is not None and sys.stdin.isatty() and out.is_terminal
    try:
        return run_watched(lambda: _serve(server, out, stay=stay))
    except KeyboardInterrupt:
        if not stay:
            raise
        return 0


def _server_settings(settings: Settings, catalogue: Catalogue) -> ServerSettings:
    usable = {offer.environment.name for offer in catalogue.offers() if offer.usable}
    return ServerSettings(
        base=settings,
        listen=_LISTEN,
        database=f"sqlite:///{settings.state / _DATABASE}",
        environments=MappingProxyType({
            name: ConfiguredEnvironment(language=name, pool_size=_WARM)
            for name in _SHOWN
            if name in usable
        }),
        drain_seconds=0.0,
        destroy_on_exit=True,
    )  # fmt: skip


async def _serve(settings: ServerSettings, out: Console, *, stay: bool) -> int:
    async with AsyncExitStack() as closing:
        server = AsyncExitStack()
        try:
            url = await _opened(settings, server)
        except Unavailable as problem:  # such as a server that has this state folder
            out.print(f"left out, a server: {explanation(problem)}", markup=False)
            return 0
        closing.callback(_remove_database, settings)
        await closing.enter_async_context(server)
        _explain(url, settings, out)
        if not stay:
            return await _show_one(url, out)
        out.print("Ctrl-C stops it, and leaves nothing behind.")
        await asyncio.Event().wait()
    return 0


def _remove_database(settings: ServerSettings) -> None:
    """What it holds is about sandboxes that are gone in a moment."""
    for file in settings.base.state.glob(f"{_DATABASE}*"):
        file.unlink(missing_ok=True)


async def _opened(settings: ServerSettings, opened: AsyncExitStack) -> str:
    from assay.bootstrap.server import running_server

    try:
        return (await opened.enter_async_context(running_server(settings))).url
    except Unavailable:  # somebody else listens there
        anywhere = replace(settings, listen=replace(_LISTEN, port=0))
        return (await opened.enter_async_context(running_server(anywhere))).url


def _explain(url: str, settings: ServerSettings, out: Console) -> None:
    names = ", ".join(settings.environments)
    out.print(f"\nAssay serves at {url}", style="bold")
    out.print(f"with {_WARM} sandboxes ready for each of {names} (docs/serve.md says more):")
    out.print(f"  curl -d '{json.dumps(_REQUEST)}' {url}/api/v1/run", soft_wrap=True)
    out.print(f"  curl {url}/api/v1/pool", soft_wrap=True)


async def _show_one(url: str, out: Console) -> int:
    import aiohttp

    async with (
        aiohttp.ClientSession() as client,
        client.post(f"{url}/api/v1/run", json=_REQUEST) as answer,
    ):
        text = await answer.text()
    out.print(f"answers {answer.status}: {text}", soft_wrap=True, markup=False)
    if answer.status != 200 or json.loads(text).get("stdout") != "42\n":
        out.print(bad("the server did not answer as it must"))
        return 1
    out.print("Nobody looks on here, so it stops.")
    return 0
