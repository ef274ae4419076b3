"""One server among several: its heartbeat, and taking over what silent ones had."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from assay.cluster.events import Event, ServersChanged, TookOver
from assay.cluster.view import (
    BEAT_SECONDS,
    View,
    has_heir,
    heirless,
    is_silent,
    look,
)
from assay.domain.errors import AssayError, Draining, StorageError, Unavailable
from assay.domain.lease import Lease
from assay.domain.token import is_same
from assay.storage.records import NOTHING, Held, ServerRecord

_PAUSE_SECONDS: Final = 1.0
"""Before what could not be adopted is tried again."""


class Members(Protocol):
    """What the database does for servers; `assay.storage.Storage` is one, once it has joined."""

    @property
    def server(self) -> ServerRecord | None:
        """This server, with its epoch of now."""
        ...

    @property
    def fenced(self) -> bool:
        """Whether another one has what was this one's."""
        ...

    def clock(self) -> float:
        """Seconds since 1970 on the database's clock."""
        ...

    async def beat(
        self, *, draining: bool, held: Mapping[str, Held]
    ) -> tuple[list[ServerRecord], float]:
        """Live, and see who else does."""
        ...

    async def take_over(self, former: ServerRecord, /) -> ServerRecord | None:
        """Have what another one had, or None."""
        ...

    async def locate(self, runner_id: str, /) -> ServerRecord | None:
        """Who has a runner."""
        ...

    async def leases(self) -> list[Lease]:
        """All of them, whoever has them."""
        ...


class Membership:
    """Says that this server lives, and knows who else does.

    `held`: how much of each token's is here; `adopt` takes up what was another server's and is
    written down as this one's, and says how many runners that were; `on_view` is told after each
    heartbeat, `on_silent` of who is given up.
    """

    def __init__(
        self,
        storage: Members,
        *,
        held: Callable[[], Mapping[str, Held]],
        adopt: Callable[[ServerRecord, ServerRecord], Awaitable[int]],
        on_view: Callable[[View], Awaitable[None]],
        on_silent: Callable[[str], None],
        on_event: Callable[[Event], None],
    ) -> None:
        self.draining = False
        """Whether this server takes no new runners; the others hear of it with the next beat."""
        self._storage = storage
        self._held = held
        self._adopt = adopt
        self._on_view = on_view
        self._on_silent = on_silent
        self._tell = on_event
        self._view = View()
        self._taking: dict[str, asyncio.Task[None]] = {}

    @property
    def me(self) -> ServerRecord:
        """This server."""
        assert self._storage.server is not None
        return self._storage.server

    @property
    def view(self) -> View:
        """How things stood at the last heartbeat."""
        return self._view

    @property
    def is_taking_over(self) -> bool:
        """Whether what another server had is about to be this one's."""
        return bool(self._taking)

    # --- the heartbeat ------------------------------------------------------------------------

    async def run(self) -> None:
        """Live, until cancelled. Raises StorageError once another server has taken over."""
        while True:
            try:
                await self.beat()
            except StorageError:
                raise
            except Exception as error:  # who stops to beat for a fault of ours loses all it has
                asyncio.get_running_loop().call_exception_handler(
                    {"message": "a heartbeat failed", "exception": error}
                )
            await asyncio.sleep(BEAT_SECONDS)

    async def beat(self) -> None:
        """Say that this server lives, see who else does, and begin to take over from who doesn't.

        A database that is away is no reason to stop: it is so for all, or somebody takes over.
        """
        try:
            servers, now = await self._storage.beat(draining=self.draining, held=self._held())
        except StorageError:
            if self._storage.fenced:
                raise
            return
        before, self._view = self._view, look(servers, me=self.me.id, now=now, before=self._view)
        if len(before.living) != len(self._view.living):
            self._tell(ServersChanged(living=len(self._view.living)))
        if not self.draining:
            for former in heirless(self._view, self.me):
                self._begin(former)
        with contextlib.suppress(StorageError):
            await self._on_view(self._view)

    async def aclose(self) -> None:
        """Take over no more; what is half done is the next one's to take over."""
        for task in self._taking.values():
            task.cancel()
        if self._taking:
            await asyncio.wait(tuple(self._taking.values()))

    # --- taking over --------------------------------------------------------------------------

    def _begin(self, former: ServerRecord) -> asyncio.Task[None]:
        task = self._taking.get(former.id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._take_over(former))
            self._taking[former.id] = task
            task.add_done_callback(lambda _done: self._taking.pop(former.id, None))
        return task

    async def _take_over(self, former: ServerRecord) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            taken = await self._storage.take_over(former)
        except StorageError:  # the next heartbeat tries again
            return
        if taken is None:
            return
        self._on_silent(former.id)
        with contextlib.suppress(StorageError):
            await self.beat()  # so that all know of one server less before they adopt what it had
        runners = await self._adopted(former, taken)
        self._tell(
            TookOver(
                server=former.address,
                epoch=taken.epoch,
                runners=runners,
                seconds=loop.time() - started,
            )
        )

    async def _adopted(self, former: ServerRecord, taken: ServerRecord) -> int:
        """Take up what is written down as this server's: until it works, or another one does it."""
        while True:
            try:
                return await self._adopt(former, taken)
            except Exception as error:  # nobody else adopts it, as long as this server lives
                if not isinstance(error, AssayError):
                    asyncio.get_running_loop().call_exception_handler(
                        {"message": "what was taken over is not adopted", "exception": error}
                    )
                await asyncio.sleep(_PAUSE_SECONDS)

    # --- for requests -------------------------------------------------------------------------

    async def locate(self, runner_id: str) -> ServerRecord | None:
        """The server that has a runner; None: there is no such runner. Raises StorageError."""
        return await self._storage.locate(runner_id)

    def is_silent(self, server: ServerRecord) -> bool:
        """Whether a server is to be given up now."""
        return is_silent(server, now=self._storage.clock(), since=self._view.since)

    async def take_over(self, server: ServerRecord) -> None:
        """Have what a silent server had, unless another one was quicker.

        Raises Unavailable when its sandboxes can't be reached from here, and Draining.
        """
        if self.draining:
            raise Draining("the server is about to stop")
        if server.place != self.me.place:
            raise Unavailable(
                f"the server {server.address}, which has this runner, does not answer, and no"
                " other one of its machine does"
            )
        await asyncio.wait((self._begin(server),))

    async def settled(self) -> None:
        """Wait until all that is this server's can be asked for."""
        while self._taking:
            await asyncio.wait(tuple(self._taking.values()))

    def is_peer(self, shown: str) -> bool:
        """Whether a text is what other servers show to this one."""
        return is_same(shown, self.me.secret.reveal().hex())

    def others_hold(self, token_id: str) -> Held:
        """How much of a token's is at other servers, as those said a second ago."""
        return self._view.others_hold.get(token_id, NOTHING)

    async def leases(self, owner: str | None) -> list[Lease]:
        """All leases of an owner, at any server; None: everybody's."""
        return [
            lease for lease in await self._storage.leases() if owner is None or lease.owner == owner
        ]

    @property
    def has_heir(self) -> bool:
        """Whether another server can go on with what is this one's."""
        return has_heir(self._view, self.me)
