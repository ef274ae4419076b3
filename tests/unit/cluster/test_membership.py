"""A server among others, over a database that is a list."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from assay.cluster import Event, Membership, ServersChanged, TookOver, View
from assay.cluster import membership as module
from assay.domain.errors import Draining, DriverError, StorageError, Unavailable
from assay.domain.lease import Lease
from assay.driver.port import Secret
from assay.storage.records import Held, ServerRecord

A = ServerRecord(id="a", address="http://a", place="here", secret=Secret(bytes(32)), epoch=1)
B = replace(A, id="b", address="http://b", epoch=2)
NOW = 1000.0


@dataclass
class Database:
    """What the storage does for servers."""

    server: ServerRecord | None = A
    fenced: bool = False
    others: list[ServerRecord] = field(default_factory=list)
    now: float = NOW
    away: bool = False
    taken: int = 0

    def clock(self) -> float:
        return self.now

    async def beat(
        self, *, draining: bool, held: Mapping[str, Held]
    ) -> tuple[list[ServerRecord], float]:
        if self.away or self.fenced:
            raise StorageError("no")
        me = replace(A, heartbeat_at=self.now, draining=draining, held=held)
        return [me, *self.others], self.now

    async def take_over(self, former: ServerRecord) -> ServerRecord | None:
        await asyncio.sleep(0)
        if former not in self.others:
            return None
        self.others.remove(former)
        self.taken += 1
        return replace(A, epoch=9)

    async def locate(self, runner_id: str) -> ServerRecord | None:
        return None

    async def leases(self) -> list[Lease]:
        return []


@dataclass
class Together:
    """A membership, and what it was asked for and told."""

    database: Database = field(default_factory=Database)
    adopted: list[tuple[str, int]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    views: list[View] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    failures: int = 0

    def __post_init__(self) -> None:
        self.membership = Membership(
            self.database, held=dict, adopt=self.adopt, on_view=self.look,
            on_silent=self.silent.append, on_event=self.events.append,
        )  # fmt: skip

    async def adopt(self, former: ServerRecord, taken: ServerRecord) -> int:
        if self.failures:
            self.failures -= 1
            raise DriverError("not now")
        self.adopted.append((former.id, taken.epoch))
        return 3

    async def look(self, view: View) -> None:
        self.views.append(view)


async def test_what_a_silent_server_had_is_adopted_once() -> None:
    all_of = Together()
    all_of.database.others = [replace(B, heartbeat_at=NOW)]
    await all_of.membership.beat()
    for _ in range(9):
        all_of.database.now += 1.0
        await all_of.membership.beat()
        await all_of.membership.settled()
    assert all_of.adopted == [("b", 9)]
    assert all_of.silent == ["b"]
    assert [each.living for each in all_of.events if isinstance(each, ServersChanged)] == [2, 1]
    (taken,) = [each for each in all_of.events if isinstance(each, TookOver)]
    assert (taken.server, taken.epoch, taken.runners) == ("http://b", 9, 3)


async def test_adopting_is_tried_until_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.01)
    all_of = Together(failures=2)
    all_of.database.others = [replace(B, heartbeat_at=0.0)]
    await all_of.membership.beat()
    assert all_of.membership.is_taking_over
    await all_of.membership.settled()
    assert all_of.adopted == [("b", 9)]


async def test_a_request_does_not_wait_for_the_next_heartbeat() -> None:
    all_of = Together()
    silent = replace(B, heartbeat_at=0.0)
    all_of.database.others = [silent]
    await asyncio.gather(*(all_of.membership.take_over(silent) for _ in range(3)))
    assert (all_of.database.taken, all_of.adopted) == (1, [("b", 9)])


async def test_what_cannot_be_reached_is_left_alone() -> None:
    all_of = Together()
    silent = replace(B, heartbeat_at=0.0, place="there")
    all_of.database.others = [silent]
    await all_of.membership.beat()
    assert not all_of.membership.is_taking_over
    with pytest.raises(Unavailable, match="http://b"):
        await all_of.membership.take_over(silent)


async def test_who_drains_takes_nothing_over() -> None:
    all_of = Together()
    silent = replace(B, heartbeat_at=0.0)
    all_of.database.others = [silent]
    all_of.membership.draining = True
    await all_of.membership.beat()
    assert not all_of.membership.is_taking_over
    with pytest.raises(Draining):
        await all_of.membership.take_over(silent)


async def test_a_database_that_is_away_stops_nobody_but_who_is_fenced() -> None:
    all_of = Together()
    all_of.database.away = True
    await all_of.membership.beat()
    assert all_of.views == []
    all_of.database.fenced = True
    with pytest.raises(StorageError):
        await all_of.membership.run()


async def test_only_another_server_knows_the_secret() -> None:
    membership = Together().membership
    assert membership.is_peer(bytes(32).hex())
    for wrong in ("", "0", bytes(31).hex(), "\udcff", bytes(32).hex() + "0"):
        assert not membership.is_peer(wrong)
