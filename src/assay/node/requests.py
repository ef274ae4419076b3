"""What one server asks over its connection for requests: answered in any order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from assay.domain.errors import AssayError, Draining, DriverError, ProtocolViolation
from assay.driver.port import Driver, Sandbox
from assay.link.messages import (
    MOST_REQUEST,
    SILENT_SECONDS,
    Answer,
    Create,
    Created,
    Destroy,
    Done,
    Examine,
    Examined,
    Listed,
    Listing,
    Ping,
    Pong,
    Request,
    Status,
    Undo,
    decode,
    encode,
    failed,
)
from assay.link.spec import to_spec
from assay.link.stream import LinkStream
from assay.node.owners import Owners
from assay.node.roots import Roots

MOST_AT_ONCE: Final = 1024
"""Requests of one server that are being answered; more would be a server that does not wait."""
_PATIENCE: Final = 3 * SILENT_SECONDS
"""A server that has said nothing for so long is gone; it pings every second."""


class Requests:
    """The connection for requests of one server."""

    def __init__(
        self,
        owner: str,
        driver: Driver,
        *,
        owners: Owners,
        roots: Roots,
        status: Callable[[], Status],
        stream: LinkStream,
    ) -> None:
        self._owner = owner
        self._driver = driver
        self._owners = owners
        self._roots = roots
        self._status = status
        self._stream = stream
        self._tasks: set[asyncio.Task[None]] = set()
        self._creating: dict[str, asyncio.Task[None]] = {}
        self._speaking = asyncio.Lock()

    async def attend(self) -> None:
        """Answer until the connection ends; what is being made for it then is undone.

        Raises ConnectionLost, ProtocolViolation.
        """
        try:
            while True:
                async with asyncio.timeout(_PATIENCE):
                    content = await self._stream.frame(MOST_REQUEST)
                if len(self._tasks) >= MOST_AT_ONCE:
                    raise ProtocolViolation(f"more than {MOST_AT_ONCE} requests at one time")
                self._begin(decode(content, Request))
        except TimeoutError:
            return
        finally:
            for task in self._tasks:
                task.cancel()
            while self._tasks:
                await asyncio.wait(tuple(self._tasks))

    def _begin(self, request: Request) -> None:
        task = asyncio.ensure_future(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if isinstance(request, Create):
            self._creating[request.ticket] = task
            task.add_done_callback(lambda _: self._creating.pop(request.ticket, None))

    async def _answer(self, request: Request) -> None:
        answer: Answer
        try:
            answer = await self._do(request)
        except AssayError as error:
            answer = failed(error, request.number)
        except Exception as error:  # whatever it was, the server must not wait for ever
            own = DriverError("the node could not do it", detail=repr(error))
            answer = failed(own, request.number)
        with contextlib.suppress(AssayError):  # the end of the connection is told to who reads
            async with self._speaking:
                await self._stream.send(encode(answer))

    async def _do(self, request: Request) -> Answer:
        number = request.number
        match request:
            case Ping():
                return Pong(number=number, status=self._status())
            case Create():
                made = await self._create(request)
                return Created(number=number, sandbox=made.id, facts=dict(made.facts))
            case Undo():
                await self._undo(request.ticket)
                return Done(number=number)
            case Listing():
                there = frozenset(await self._driver.list())
                mine = (each for each in self._owners.of(self._owner) if each in there)
                return Listed(number=number, sandboxes=tuple(sorted(mine)))
            case Examine():
                known = self._owners.owns(self._owner, request.sandbox)
                state = await self._driver.examine(request.sandbox) if known else None
                return Examined(number=number, state=state)
            case Destroy():
                if self._owners.owns(self._owner, request.sandbox):
                    self._owners.claim(self._owner, request.sandbox, request.epoch)
                    await self._destroy(request.sandbox)
                return Done(number=number)

    async def _create(self, request: Create) -> Sandbox:
        if self._status().draining:
            raise Draining("the node takes no new sandboxes, as its operator wants it empty")
        root = await self._roots.find(self._owner, request.wish.root)
        made = await self._driver.create(to_spec(request.wish, root))
        try:
            self._owners.note(self._owner, made.id, request.ticket, request.epoch)
        except OSError as error:
            await self._driver.destroy(made.id)
            raise DriverError(
                "the node can't note whose a sandbox is", detail=str(error)
            ) from error
        return made

    async def _undo(self, ticket: str) -> None:
        task = self._creating.get(ticket)
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        made = self._owners.made_by(self._owner, ticket)
        if made is not None:
            await self._destroy(made)

    async def _destroy(self, sandbox_id: str) -> None:
        if self._owners.owns(self._owner, sandbox_id):
            await self._driver.destroy(sandbox_id)
            self._owners.forget(self._owner, sandbox_id)
