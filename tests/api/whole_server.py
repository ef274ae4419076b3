"""A whole server over fake sandboxes, in a thread of its own, for clients that block."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from assay.bootstrap.server import running_server
from assay.config import Settings
from assay.config.options import Address
from assay.config.server import ConfiguredEnvironment, ServerSettings


def settings_in(folder: Path, **changes: object) -> ServerSettings:
    """Settings of a server that can start in this folder."""
    return ServerSettings(
        base=Settings(state=folder / "state", images=folder / "images", driver="fake"),
        listen=Address(host="127.0.0.1", port=0),
        database=f"sqlite:///{folder / 'server.db'}",
        environments=MappingProxyType({
            "bash": ConfiguredEnvironment(language="bash", pool_size=2, exposed_ports=(8080,))
        }),
        **changes,
    )  # fmt: skip


@contextlib.contextmanager
def whole_server(settings: ServerSettings) -> Iterator[str]:
    """Serve during the block, and say where."""
    started, stop = threading.Event(), None
    url, failure = "", None

    async def main() -> None:
        nonlocal stop, url
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        async with running_server(settings) as server:
            url = server.url
            stop = lambda: loop.call_soon_threadsafe(end.set)  # noqa: E731
            started.set()
            await end.wait()

    def run() -> None:
        nonlocal failure
        try:
            asyncio.run(main())
        except BaseException as error:
            failure = error
            raise
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(30)
    try:
        if stop is None:
            raise AssertionError("the server did not start") from failure
        yield url
    finally:
        if stop is not None:
            stop()
        thread.join(30)
    assert not thread.is_alive()
