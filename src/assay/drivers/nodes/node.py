"""One node: the connection for requests, made again whenever it breaks, and what it has said."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from assay.domain.errors import (
    AssayError,
    ConnectionLost,
    DriverUnavailable,
    ProtocolViolation,
)
from assay.driver.port import Capabilities
from assay.drivers.nodes.abilities import heard
from assay.drivers.nodes.addresses import Address
from assay.drivers.nodes.choice import Stand
from assay.drivers.nodes.identity import Identity
from assay.link.certificates import broken_off, name_in, refused
from assay.link.messages import (
    MOST_ANSWER,
    PING_SECONDS,
    SILENT_SECONDS,
    Answer,
    Control,
    Create,
    Created,
    Destroy,
    Done,
    Facts,
    Failed,
    Ping,
    Pong,
    Root,
    Status,
    Stream,
    Undo,
    Welcome,
    decode,
    decode_first,
    encode,
    raised,
)
from assay.link.stream import SECONDS_TO_CLOSE, SECONDS_TO_SHAKE_HANDS, LinkStream, violation

T = TypeVar("T")
_DELAYS: Final = (0.1, 0.2, 0.5, 1.0)
"""Until the next attempt to connect, in seconds; the last one again and again."""
_SECONDS_TO_CONNECT: Final = 3.0
_LATE: Final = 0.5
"""A second that took so much longer was ours: this program itself stood still."""


class Node:
    """A node that may be there or not; `start` begins to find out, for good."""

    def __init__(
        self,
        address: Address,
        *,
        context: ssl.SSLContext,
        certificates: Path,
        identity: Identity,
    ) -> None:
        self.address = address
        self.name = str(address)
        self.facts: Facts | None = None
        self.capabilities: Capabilities | None = None
        self.status: Status | None = None
        self.heard_at: float | None = None
        """When it last said something; None: never."""
        self.since = 0.0
        """When it was begun to find out whether it is there, on the event loop's clock."""
        self.problem = f"{self.name} was not asked yet"
        self.tried = asyncio.Event()
        """Set once it has answered, or the first attempt has failed."""
        self._context = context
        self._certificates = certificates
        self._identity = identity
        self._loop = asyncio.get_running_loop()
        self._control: LinkStream | None = None
        self._streams: set[LinkStream] = set()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._made = self._ended = 0
        """Sandboxes since it has said how it stands."""
        self._being_made = 0
        self._doubtful: set[str] = set()
        """Tickets of sandboxes that may have been made, for nobody."""
        self._speaking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._undoing: asyncio.Task[None] | None = None

    # --- how it is -------------------------------------------------------------------------------

    @property
    def is_here(self) -> bool:
        """Whether it can be asked now."""
        return self._control is not None

    @property
    def stand(self) -> Stand:
        """For the choice."""
        status = self.status
        if status is None or not self.is_here:
            return Stand(name=self.name, heard_at=float("-inf"))
        return Stand(
            name=self.name,
            heard_at=float("-inf") if self.heard_at is None else self.heard_at,
            draining=status.draining,
            sandboxes=max(0, status.sandboxes - self._ended),
            most=status.most,
            stock=status.stock,
            load=status.load,
            asked=self._made + self._being_made,
        )

    # --- the connection for requests -------------------------------------------------------------

    def start(self) -> None:
        """Connect, and keep it so."""
        if self._task is None:
            self.since = self._loop.time()
            self._task = self._loop.create_task(self._keep())

    async def aclose(self) -> None:
        """Let go of it, and of all streams of its sandboxes."""
        tasks = [task for task in (self._task, self._undoing) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._break(ConnectionLost(f"the connection to {self.name} was closed"))

    async def _keep(self) -> None:
        delays = iter(_DELAYS)
        while True:
            try:
                await self._attend()
            except AssayError as error:
                self.problem = error.message
            except Exception as error:  # what is wrong with one attempt may be right in the next
                self.problem = f"the connection to {self.name} failed: {error!r}"
            finally:
                self.tried.set()
            if self.heard_at is not None and self._loop.time() - self.heard_at < _DELAYS[-1]:
                delays = iter(_DELAYS)
            await asyncio.sleep(next(delays, _DELAYS[-1]))

    async def _attend(self) -> None:
        """Connect, and take answers until the connection ends."""
        stream, welcome = await self._open(Control())
        try:
            self._take(welcome)
            self._control = stream
            self.tried.set()
            if self._doubtful:
                self._undoing = self._loop.create_task(self._undo_all())
            pinging = self._loop.create_task(self._ping(stream))
            try:
                while True:
                    self._receive(decode(await stream.frame(MOST_ANSWER), Answer))
            except ProtocolViolation as error:
                raise violation(error) from error
            finally:
                pinging.cancel()
                await asyncio.wait((pinging,))
        finally:
            self._control = None
            self._break(ConnectionLost(f"the connection to {self.name} broke"))
            await stream.aclose()

    def _take(self, welcome: Welcome) -> None:
        if welcome.facts is None or welcome.status is None:
            raise DriverUnavailable(f"{self.name} does not say what it is")
        self.capabilities = heard(welcome.facts.capabilities)
        if self.capabilities is None:
            raise DriverUnavailable(f"{self.name} says nothing sensible of what it can do")
        self.facts, self.status, self.problem = welcome.facts, welcome.status, ""
        self._made = self._ended = 0
        self.heard_at = self._loop.time()

    def _break(self, error: ConnectionLost) -> None:
        """Whoever waits for it, or reads of its sandboxes, is told."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()
        for stream in tuple(self._streams):
            stream.abort(error)
        self._streams.clear()

    async def _ping(self, stream: LinkStream) -> None:
        """Ask how it is, and give it up when nothing comes at all."""
        while True:
            due = self._loop.time() + PING_SECONDS
            try:
                async with asyncio.timeout(SILENT_SECONDS):
                    await self._send(stream, Ping(number=0))
            except TimeoutError:
                stream.abort(ConnectionLost(f"{self.name} takes nothing any more"))
                return
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            now = self._loop.time()
            if now - due > _LATE:
                continue  # what it has said meanwhile may lie in the socket yet
            if now - stream.last_heard > SILENT_SECONDS:
                self.problem = f"{self.name} says nothing any more"
                stream.abort(
                    ConnectionLost(f"{self.name} has said nothing for {SILENT_SECONDS:g} s")
                )
                return

    async def _send(self, stream: LinkStream, message: Any) -> None:
        with contextlib.suppress(ConnectionLost):  # told by who reads
            async with self._speaking:
                await stream.send(encode(message))

    def _receive(self, answer: Any) -> None:
        self.heard_at = self._loop.time()
        if isinstance(answer, Pong):
            self.status, self._made, self._ended = answer.status, 0, 0
            return
        waiting = self._waiting.pop(answer.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    # --- requests --------------------------------------------------------------------------------

    async def ask(self, make: Callable[[int], Any], wanted: type[T]) -> T:
        """Send the request that `make` makes of a number, and wait for its answer.

        Raises what the node says, DriverUnavailable when it is not here, ConnectionLost when it
        goes meanwhile.
        """
        stream = self._require_here()
        number = next(self._numbers)
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            await self._send(stream, make(number))
            answer = await waiting
        finally:
            self._waiting.pop(number, None)
        if isinstance(answer, Failed):
            raise raised(answer)
        if not isinstance(answer, wanted):
            raise ProtocolViolation(f"{self.name} has answered something else than was asked")
        return answer

    async def create(self, wish: Any) -> Created:
        """Have a sandbox made. What was made in vain is destroyed, if need be when it is back."""
        ticket = secrets.token_hex(16)
        self._being_made += 1
        try:
            created = await self.ask(
                lambda number: Create(
                    number=number, ticket=ticket, wish=wish, epoch=self._identity.epoch
                ),
                Created,
            )
            self._made += 1
            return created
        except (ConnectionLost, ProtocolViolation):
            self._doubt(ticket)
            raise
        except asyncio.CancelledError:
            self._doubt(ticket)
            if self._undoing is not None:
                await asyncio.wait((self._undoing,), timeout=SILENT_SECONDS)
            raise
        finally:
            self._being_made -= 1

    async def destroy(self, sandbox_id: str) -> None:
        """Have a sandbox ended."""
        epoch = self._identity.epoch
        await self.ask(lambda number: Destroy(number=number, sandbox=sandbox_id, epoch=epoch), Done)
        self._ended += 1

    def _doubt(self, ticket: str) -> None:
        self._doubtful.add(ticket)
        if self.is_here and (self._undoing is None or self._undoing.done()):
            self._undoing = self._loop.create_task(self._undo_all())

    async def _undo_all(self) -> None:
        """What fails is tried again when the node is back."""
        with contextlib.suppress(AssayError):
            while self._doubtful:
                await self._undo(next(iter(self._doubtful)))

    async def _undo(self, ticket: str) -> None:
        await self.ask(lambda number: Undo(number=number, ticket=ticket), Done)
        self._doubtful.discard(ticket)

    def _require_here(self) -> LinkStream:
        if self._control is None:
            raise DriverUnavailable(self.problem or f"{self.name} does not answer")
        return self._control

    # --- other connections -----------------------------------------------------------------------

    async def connect(self, sandbox_id: str) -> LinkStream:
        """The bytes of a sandbox's agent. Raises what the node says, DriverUnavailable."""
        self._require_here()
        stream, _ = await self._open(Stream(sandbox=sandbox_id, epoch=self._identity.epoch))
        self._streams.add(stream)
        stream.on_gone = lambda: self._streams.discard(stream)
        if not self.is_here:
            stream.abort(ConnectionLost(f"the connection to {self.name} broke"))
        return stream

    async def open_root(self, name: str) -> LinkStream:
        """A connection that takes a root file system."""
        stream, _ = await self._open(Root(name=name))
        return stream

    async def _open(self, purpose: Control | Stream | Root) -> tuple[LinkStream, Welcome]:
        stream: LinkStream | None = None
        try:
            async with asyncio.timeout(_SECONDS_TO_CONNECT):
                stream = await self._dial()
                hello = self._identity.hello(purpose, name_in(stream.certificate))
                await stream.send(encode(hello))
                answer = decode_first(await stream.frame(MOST_ANSWER), Welcome | Failed)
        except TimeoutError as error:
            await _closed(stream)
            raise DriverUnavailable(
                f"{self.name} does not answer: it may be off, or behind a firewall; see there:"
                " systemctl status assay-node"
            ) from error
        except ConnectionLost as error:
            await _closed(stream)
            raise DriverUnavailable(
                broken_off(self.name, self._certificates), detail=error.detail
            ) from error
        except BaseException:
            await _closed(stream)
            raise
        if isinstance(answer, Failed):
            await stream.aclose()
            raise raised(answer)
        return stream, answer

    async def _dial(self) -> LinkStream:
        address = self.address
        try:
            _, stream = await self._loop.create_connection(
                LinkStream, address.host, address.port, ssl=self._context,
                server_hostname=address.name, ssl_handshake_timeout=SECONDS_TO_SHAKE_HANDS,
                ssl_shutdown_timeout=SECONDS_TO_CLOSE,
            )  # fmt: skip
        except ssl.SSLError as error:
            problem = refused(self.name, self._certificates, error)
            raise DriverUnavailable(problem, detail=str(error)) from error
        except (OSError, ValueError) as error:  # of which one is a name that can't be one
            raise DriverUnavailable(
                f"{self.name} can't be reached: no `assay node` may run there; see there:"
                " systemctl status assay-node",
                detail=str(error) or repr(error),
            ) from error
        return stream


async def _closed(stream: LinkStream | None) -> None:
    if stream is not None:
        await stream.aclose()
