"""PostgreSQL's word that something waits, or is over: within a millisecond, from any server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sqlalchemy import URL

from assay.storage.submissions.statements import CHANNEL

_PAUSE_SECONDS: Final = 1.0
"""Before a connection that broke is made anew; meanwhile others look by themselves."""


class Notices:
    """One connection that listens, made anew whenever it breaks."""

    def __init__(self, url: URL, told: Callable[[str], None]) -> None:
        """`told` gets the id of what is over, or "": something waits, or may do so."""
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._told = told
        self._listening = asyncio.create_task(self._listen_for_ever())

    async def aclose(self) -> None:
        """End the connection."""
        self._listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._listening

    async def _listen_for_ever(self) -> None:
        import psycopg

        while True:
            with contextlib.suppress(psycopg.Error, OSError):
                await self._listen()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _listen(self) -> None:
        import psycopg

        async with await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, application_name="assay", connect_timeout=5
        ) as connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._told("")  # what was said before is not heard
            async for notice in connection.notifies():
                for name in notice.payload.split() or [""]:
                    self._told(name)
