"""One server among several of a database: what it does besides serving.

Its row says that it lives; what silent servers had is adopted as after a restart; and what was
changed through others is taken up. `Cluster` exists before what it works with, and ends after it:
others may have what was this server's only once all of it is let go of.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from assay.api.auth import Authenticator
from assay.api.forwarding import Forwarder
from assay.api.tls import Authorities
from assay.bootstrap.ownership import Ownership
from assay.bootstrap.recovery import Recovery
from assay.bootstrap.served import ServedEnvironments
from assay.cluster import Membership, View
from assay.cluster.view import rank
from assay.config.server import ServerSettings
from assay.domain.errors import AssayError, StorageError
from assay.driver.port import Secret
from assay.observe.observer import Observer
from assay.pool import Pool
from assay.pool.plan import Position
from assay.runners.runners import Runners
from assay.runners.values import State
from assay.storage.database import Storage
from assay.storage.records import Held, ServerRecord

EVERYWHERE: Final = "everywhere"
"""In the place of a state folder's number: any machine will do."""
_EPOCHS_A_START: Final = 1 << 24
_ATTEMPTS: Final = 5
_SECONDS_BETWEEN: Final = 0.05


class Epochs:
    """Numbers for connections to agents: each is greater than any of an earlier server's."""

    def __init__(self, epoch: int) -> None:
        self._last = epoch * _EPOCHS_A_START

    def __call__(self) -> int:
        self._last += 1
        return self._last

    def rise(self, epoch: int) -> None:
        """Go on from an epoch of the database that is this server's now."""
        self._last = max(self._last, epoch * _EPOCHS_A_START)


class Cluster:
    """Joins the servers of a database; `start` makes one of them, `aclose` lets go of all."""

    def __init__(self, storage: Storage, settings: ServerSettings, observer: Observer) -> None:
        self.given_up = asyncio.Event()
        """Another server has taken over: this one must end, and touch nothing."""
        self.membership: Membership | None = None
        self.forwarder: Forwarder | None = None
        self.authorities = Authorities(settings.tls_authority)
        self._storage = storage
        self._settings = settings
        self._observer = observer
        self._beating: asyncio.Task[None] | None = None
        self._noted: dict[str, Collection[str]] = {}
        self._cleaning: set[asyncio.Task[None]] = set()

    async def join(self, address: str, place: str, ownership: Ownership) -> Epochs:
        """Be one of the servers, by the URL at which the others reach this one.

        What is this server's from the beginning is left to be adopted as after a restart.
        """
        record = ServerRecord(
            id=secrets.token_hex(8),
            address=address,
            place=place,
            secret=Secret(secrets.token_bytes(32)),
        )
        joined, formers = await self._storage.join(record)
        for former in formers:
            await self._inherited(ownership, former)
        return Epochs(joined.epoch)

    async def start(
        self,
        *,
        epochs: Epochs,
        environments: ServedEnvironments,
        pool: Pool,
        runners: Runners,
        recovery: Recovery,
        ownership: Ownership,
        authenticator: Authenticator,
    ) -> None:
        """Say that this server lives, from now on, and see who else does: the pool's share."""

        async def adopt(former: ServerRecord, taken: ServerRecord) -> int:
            epochs.rise(taken.epoch)
            if former.id not in self._noted:
                self._noted[former.id] = await self._inherited(ownership, former)
            await environments.follow()
            with pool.growing():  # what comes in is for the share that this one has then
                found = await recovery.take_over(self._noted[former.id], taken.epoch)
                pool.set_position(position_in(membership.view))
            self._clean_up(recovery, found.strangers)
            return len(found.leased)

        async def on_view(view: View) -> None:
            for token_id, seconds in view.spent_elsewhere.items():
                authenticator.charge(token_id, seconds)
            # What a silent server had in stock fills what its share leaves: not before it is here.
            if not membership.is_taking_over:
                pool.set_position(position_in(view))
            await environments.follow()

        def position_in(view: View) -> Position:
            at, servers = rank(view, membership.me.id)
            return Position(rank=at, servers=servers)

        membership = self.membership = Membership(
            self._storage,
            held=lambda: held_by(runners, authenticator.spent()),
            adopt=adopt,
            on_view=on_view,
            on_silent=lambda server_id: forwarder.cut(server_id),
            on_event=self._observer.on_event,
        )
        forwarder = self.forwarder = Forwarder(
            membership, authorities=self.authorities, on_event=self._observer.on_event
        )
        await membership.beat()
        self._beating = asyncio.get_running_loop().create_task(self._beat(membership, ownership))

    def _clean_up(self, recovery: Recovery, strangers: Collection[str]) -> None:
        async def clean_up() -> None:
            with contextlib.suppress(AssayError):  # agents end what nobody is connected to
                await recovery.destroy_strangers(strangers)

        task = asyncio.get_running_loop().create_task(clean_up())
        self._cleaning.add(task)
        task.add_done_callback(self._cleaning.discard)

    async def _beat(self, membership: Membership, ownership: Ownership) -> None:
        try:
            await membership.run()
        except StorageError:
            ownership.renounce()
            self.given_up.set()

    async def _inherited(self, ownership: Ownership, former: ServerRecord) -> Collection[str]:
        """What a silent server has noted; nothing while its process is there, only stopped."""
        name = name_of(self._settings, former.address)
        for _ in range(_ATTEMPTS):
            if (noted := ownership.inherit(name)) is not None:
                return noted
            await asyncio.sleep(_SECONDS_BETWEEN)
        return ()

    async def drain(self) -> None:
        """Tell the other servers that this one is about to stop, and take over nothing any more."""
        if self.membership is not None:
            self.membership.draining = True
            with contextlib.suppress(StorageError):
                await self.membership.beat()

    def has_heir(self) -> bool:
        """Whether another server can go on with what is this one's."""
        return self.membership is not None and self.membership.has_heir

    async def aclose(self) -> None:
        """Let the others have, at once, what was this server's."""
        if self.membership is not None:
            await self.membership.aclose()
        tasks = [*self._cleaning, *([] if self._beating is None else [self._beating])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._storage.server is not None and not self._storage.fenced:
            with contextlib.suppress(StorageError):
                await self._storage.let_go()

    def require_own(self) -> None:
        """Raise StorageError once another server has taken over."""
        if self.given_up.is_set():
            raise StorageError(
                "this server was silent for too long, and another one has taken over what was its:"
                " start it anew"
            )


def name_of(settings: ServerSettings, address: str = "") -> str:
    """Under which a server's sandboxes are noted: what another database's has left is not ours."""
    database = hashlib.sha256(settings.database.encode()).hexdigest()[:16]
    return f"{database}-{hashlib.sha256(address.encode()).hexdigest()[:8]}" if address else database


def place_of(state: Path, driver: str, *, shared: bool = False) -> str:
    """What servers have in common that reach the same sandboxes: the driver, and a state folder,
    unless all servers of the database reach them (`shared`).
    """
    if shared:
        return f"{driver}@{EVERYWHERE}"
    file, draft = state / "place", state / f".place-{secrets.token_hex(8)}"
    if not file.exists():
        draft.write_text(secrets.token_hex(8))
        with contextlib.suppress(FileExistsError):  # another server was quicker
            file.hardlink_to(draft)
        draft.unlink()
    return f"{driver}@{file.read_text()}"


def held_by(runners: Runners, spent: Mapping[str, float]) -> Mapping[str, Held]:
    """How much of each token's is here, and of the rate of each that asks was `spent` here."""
    leased: Counter[str] = Counter()
    running: Counter[str] = Counter()
    for runner in runners.all():
        leased[runner.owner] += 1
        running[runner.owner] += sum(each.state is State.RUNNING for each in runner.executions())
    return {
        owner: Held(runners=leased[owner], executions=running[owner], spent=spent.get(owner, 0.0))
        for owner in leased.keys() | spent.keys()
    }
