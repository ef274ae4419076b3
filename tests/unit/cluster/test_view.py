"""Who lives and who is silent, for any way that heartbeats can stand."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from assay.cluster.view import (
    GRACE_SECONDS,
    LAPSED_SECONDS,
    View,
    has_heir,
    heirless,
    is_silent,
    look,
    rank,
)
from assay.driver.port import Secret
from assay.pool.plan import Position, share
from assay.storage.records import NOTHING, Held, ServerRecord

NOW = 1000.0
A = ServerRecord(id="a", address="http://a", place="here", secret=Secret(bytes(32)), epoch=1)
times = st.one_of(st.just(0.0), st.floats(min_value=NOW - 60, max_value=NOW + 5))
servers = st.lists(
    st.builds(
        lambda name, at, draining, place: replace(
            A, id=name, heartbeat_at=at, draining=draining, place=place
        ),
        st.sampled_from("abcdef"), times, st.booleans(), st.sampled_from(["here", "there"]),
    ),
    unique_by=lambda server: server.id,
    max_size=6,
)  # fmt: skip


def seen(*others: ServerRecord, now: float = NOW, since: float = NOW - 60, me: str = "a") -> View:
    return look((*others,), me=me, now=now, before=View(at=now - 1.0, since=since))


@given(servers, times)
def test_nobody_who_was_heard_of_lately_is_given_up(servers, since) -> None:
    for server in servers:
        if 0.0 < NOW - server.heartbeat_at <= LAPSED_SECONDS:
            assert not is_silent(server, now=NOW, since=since)


@given(servers, st.floats(min_value=NOW - GRACE_SECONDS + 0.01, max_value=NOW))
def test_who_was_away_itself_gives_nobody_up_at_once(servers, since) -> None:
    for server in servers:
        assert not is_silent(server, now=NOW, since=since) or server.heartbeat_at == 0.0


@given(servers, st.floats(min_value=LAPSED_SECONDS + 0.01, max_value=600))
def test_a_break_in_ones_own_heartbeats_begins_the_grace_anew(servers, gap) -> None:
    """As after the database was away: all are silent then, and nobody is gone."""
    view = look(servers, me="a", now=NOW, before=View(at=NOW - gap, since=NOW - 900))
    assert view.since == NOW
    for server in heirless(view, A):
        assert server.heartbeat_at == 0.0


@given(servers, times)
def test_one_lives_or_is_heirless_or_elsewhere(servers, since) -> None:
    view = look(servers, me="a", now=NOW, before=View(at=NOW - 1, since=since))
    living, silent = {each.id for each in view.living}, {each.id for each in heirless(view, A)}
    assert not living & silent
    for server in servers:
        assert server.id in living | silent or server.place != "here"
        assert server.id != "a" or server.id in living


@given(servers, st.integers(min_value=0, max_value=50))
def test_the_shares_of_all_that_take_requests_are_the_target(servers, target) -> None:
    taking = [each for each in servers if not each.draining and NOW - each.heartbeat_at <= 5]
    shares = []
    for each in taking:
        at, count = rank(seen(*servers, me=each.id), each.id)
        shares.append(share(target, Position(rank=at, servers=count)))
    assert sum(shares) == (target if taking else 0)
    assert not shares or max(shares) - min(shares) <= 1


def test_who_has_let_go_is_given_up_at_once_by_whom_can_reach_its_sandboxes() -> None:
    gone = replace(A, id="b", heartbeat_at=0.0)
    alive = replace(A, heartbeat_at=NOW)
    assert heirless(seen(alive, gone, since=NOW), A) == (gone,)
    assert heirless(seen(alive, replace(gone, place="there"), since=NOW), A) == ()


def test_an_heir_lives_is_near_and_stays() -> None:
    other = replace(A, id="b", heartbeat_at=NOW)
    assert has_heir(seen(A, other), A)
    for no_heir in (
        replace(other, draining=True),
        replace(other, place="there"),
        replace(other, heartbeat_at=NOW - 9),
    ):
        assert not has_heir(seen(A, no_heir), A)


def test_what_others_hold_is_added_up_without_those_that_are_silent() -> None:
    held = {"t": Held(runners=2, executions=1)}
    view = seen(
        replace(A, heartbeat_at=NOW, held=held),
        replace(A, id="b", heartbeat_at=NOW, held=held),
        replace(A, id="c", heartbeat_at=NOW, held={**held, "u": NOTHING}),
        replace(A, id="d", heartbeat_at=NOW - 9, held=held),
    )
    assert view.others_hold == {"t": Held(runners=4, executions=2), "u": NOTHING}
