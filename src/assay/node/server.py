"""Connections of servers: who it is by the certificate, what it is for by the first frame."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

from assay.domain.errors import AssayError, ConnectionLost, Unauthenticated
from assay.driver.port import Driver
from assay.link.certificates import name_in
from assay.link.claims import owner_of
from assay.link.messages import (
    MOST_REQUEST,
    VERSION,
    Control,
    Done,
    Facts,
    Hello,
    Root,
    Status,
    Stream,
    Welcome,
    decode_first,
    encode,
    failed,
)
from assay.link.stream import SECONDS_TO_CLOSE, SECONDS_TO_SHAKE_HANDS, LinkStream
from assay.node.carrier import carry
from assay.node.owners import Owners
from assay.node.requests import Requests
from assay.node.roots import Roots

SWEEP_SECONDS: Final = 60.0
"""How often it is looked for sandboxes that have ended, and whose server does not come."""
ENDED_SECONDS: Final = 900.0
"""For a server that is here to fetch what is known of a sandbox that has ended. Of several servers
of one owner, the only one that knew of it may be gone."""
_SECONDS_TO_HELLO: Final = 5.0
_BACKLOG: Final = 4096
_log: Final = logging.getLogger("assay")


class NodeServer:
    """Serves one driver to any number of servers, who see nothing of one another."""

    def __init__(
        self,
        driver: Driver,
        *,
        owners: Owners,
        roots: Roots,
        facts: Facts,
        status: Callable[[], Status],
    ) -> None:
        self._driver = driver
        self._owners = owners
        self._roots = roots
        self._facts = facts
        self._status = status
        self._tasks: set[asyncio.Task[None]] = set()
        self._present: dict[str, int] = {}
        """How many connections for requests each server has."""
        self._connected: Counter[str] = Counter()
        """How many byte streams lead to each sandbox."""
        self._ended_at: dict[str, float] = {}
        """When a sandbox was first seen to have ended, whose server is here."""

    @contextlib.asynccontextmanager
    async def listening(self, host: str, port: int, context: ssl.SSLContext) -> AsyncIterator[int]:
        """Serve during the block; gives the port. Raises OSError."""
        server = await asyncio.get_running_loop().create_server(
            lambda: LinkStream(self._on_open), host, port, ssl=context, backlog=_BACKLOG,
            ssl_handshake_timeout=SECONDS_TO_SHAKE_HANDS, ssl_shutdown_timeout=SECONDS_TO_CLOSE,
        )  # fmt: skip
        sweeping = asyncio.ensure_future(self._sweep())
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in (sweeping, *self._tasks):
                task.cancel()
            await asyncio.wait((sweeping, *self._tasks))

    def _on_open(self, stream: LinkStream) -> None:
        task = asyncio.ensure_future(self._attend(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attend(self, stream: LinkStream) -> None:
        try:
            await self._serve(stream)
        except ConnectionLost:
            pass
        except AssayError as error:
            with contextlib.suppress(AssayError, TimeoutError):
                async with asyncio.timeout(SECONDS_TO_CLOSE):
                    await stream.send(encode(failed(error)))
        except Exception:
            _log.exception("a connection of the link failed")
        finally:
            await stream.aclose()

    async def _serve(self, stream: LinkStream) -> None:
        name = name_in(stream.certificate)
        if not name:
            raise Unauthenticated("the server's certificate has no common name")
        try:
            async with asyncio.timeout(_SECONDS_TO_HELLO):
                hello: Hello = decode_first(await stream.frame(MOST_REQUEST), Hello)
        except TimeoutError:
            return
        owner = owner_of(name, hello.scope, hello.claim)
        match hello.purpose:
            case Control():
                await self._ask(owner, name, stream)
            case Stream():
                await self._connect(owner, hello.purpose, stream)
            case Root(name=root):
                await stream.send(encode(Welcome(version=VERSION)))
                await self._roots.receive(owner, root, stream)
                await stream.send(encode(Done()))

    async def _ask(self, owner: str, name: str, stream: LinkStream) -> None:
        welcome = Welcome(version=VERSION, facts=self._facts, status=self._status())
        await stream.send(encode(welcome))
        requests = Requests(
            owner, self._driver, owners=self._owners, roots=self._roots, status=self._status,
            stream=stream,
        )  # fmt: skip
        _log.info("the server %s (%s) is here", name, owner)
        self._present[owner] = self._present.get(owner, 0) + 1
        try:
            await requests.attend()
        finally:
            self._present[owner] -= 1
            _log.info("the server %s (%s) has gone", name, owner)

    async def _connect(self, owner: str, wanted: Stream, stream: LinkStream) -> None:
        self._owners.claim(owner, wanted.sandbox, wanted.epoch)
        agent = await self._driver.connect(wanted.sandbox)
        self._connected[wanted.sandbox] += 1
        try:
            try:
                await stream.send(encode(Welcome(version=VERSION)))
            except BaseException:
                await agent.aclose()
                raise
            await carry(agent, stream)
        finally:
            self._connected[wanted.sandbox] -= 1
            if not self._connected[wanted.sandbox]:
                del self._connected[wanted.sandbox]

    async def _sweep(self) -> None:
        """Agents end themselves when nobody claims them; what is left then is removed here."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            every = self._owners.all()
            self._ended_at = {each: at for each, at in self._ended_at.items() if each in every}
            for sandbox_id, owner in every.items():
                if sandbox_id not in self._connected:
                    with contextlib.suppress(AssayError, OSError):
                        await self._remove_ended(owner, sandbox_id)

    async def _remove_ended(self, owner: str, sandbox_id: str) -> None:
        state = await self._driver.examine(sandbox_id)
        if state is not None and state.running:
            return
        now = asyncio.get_running_loop().time()
        since = self._ended_at.setdefault(sandbox_id, now)
        if self._present.get(owner) and now - since < ENDED_SECONDS:
            return
        await self._driver.destroy(sandbox_id)
        self._owners.forget(owner, sandbox_id)
