"""What a pool does next, for any way that things can stand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.pool.plan import (
    CHECK_SECONDS,
    EXTRA_SLOTS,
    FIRST_DELAY,
    MOST_DELAY,
    IdleSandbox,
    Stand,
    backoff,
    inspect,
    leaving,
    missing,
    plan,
)

NOW = 1000.0
few = st.integers(min_value=0, max_value=12)
stands = st.lists(
    st.builds(
        Stand,
        environment=st.sampled_from("abcdef"),
        target=few,
        idle=few,
        old=few,
        creating=st.integers(min_value=0, max_value=3),
        waiting=few,
        usable=st.booleans(),
        retry_at=st.sampled_from([0.0, NOW - 1.0, NOW, NOW + 1.0]),
        failures=st.integers(min_value=0, max_value=3),
        turn=few,
    ),
    unique_by=lambda stand: stand.environment,
    max_size=6,
)
slots = st.integers(min_value=1, max_value=4)


def busy(stands: list[Stand]) -> int:
    return sum(stand.creating for stand in stands)


@given(stands, slots)
def test_nothing_is_made_beyond_the_target_and_those_who_wait(stands, slots) -> None:
    made = Counter(plan(stands, busy=busy(stands), slots=slots, now=NOW).create)
    for stand in stands:
        if made[stand.environment]:
            there = stand.idle + stand.creating + made[stand.environment]
            assert there <= stand.target + stand.waiting


@given(stands, slots)
def test_no_more_are_made_at_a_time_than_is_allowed(stands, slots) -> None:
    made = plan(stands, busy=busy(stands), slots=slots, now=NOW).create
    assert len(made) <= max(0, slots + EXTRA_SLOTS - busy(stands))


@given(stands, slots)
def test_only_idle_ones_are_destroyed_and_none_that_somebody_waits_for(stands, slots) -> None:
    actions = plan(stands, busy=0, slots=slots, now=NOW)
    for stand in stands:
        idle = actions.destroy_idle.get(stand.environment, 0)
        assert idle <= max(0, stand.idle - stand.target)
        assert not (idle and stand.waiting)
        assert actions.destroy_old.get(stand.environment, 0) <= stand.old


@settings(max_examples=30)
@given(stands, slots)
def test_what_is_done_is_enough(stands, slots) -> None:
    """Acting on the plan again and again ends with exactly what is wanted."""
    for _ in range(150):
        actions = plan(stands, busy=0, slots=slots, now=NOW + 2.0)
        made = Counter(actions.create)
        stands = [
            Stand(
                environment=stand.environment,
                target=stand.target,
                idle=stand.idle
                + stand.creating
                + made[stand.environment]
                - actions.destroy_idle.get(stand.environment, 0)
                - min(stand.waiting, stand.idle),
                old=stand.old - actions.destroy_old.get(stand.environment, 0),
                waiting=stand.waiting - min(stand.waiting, stand.idle),
                turn=stand.turn + made[stand.environment],
            )
            for stand in stands
        ]
    for stand in stands:
        assert (stand.idle, stand.waiting, stand.old) == (stand.target, 0, 0)


@given(stands, slots)
def test_nothing_is_made_before_it_is_time_or_possible(stands, slots) -> None:
    made = set(plan(stands, busy=0, slots=slots, now=NOW).create)
    for stand in stands:
        if not stand.usable or stand.retry_at > NOW:
            assert stand.environment not in made


@given(stands, slots)
def test_there_is_one_attempt_at_a_time_while_it_fails(stands, slots) -> None:
    made = Counter(plan(stands, busy=0, slots=slots, now=NOW).create)
    for stand in stands:
        if stand.failures and made[stand.environment]:
            assert (stand.creating, made[stand.environment]) == (0, 1)


def test_whoever_waits_comes_before_refilling() -> None:
    refill = Stand(environment="refill", target=50)
    waiting = Stand(environment="waiting", target=0, waiting=1, turn=9)
    assert plan([refill, waiting], busy=0, slots=1, now=NOW).create[0] == "waiting"


def test_nobody_waits_for_anothers_pool_to_be_filled() -> None:
    refill = Stand(environment="refill", target=50, creating=2)
    waiting = Stand(environment="waiting", target=0, waiting=5)
    assert plan([refill, waiting], busy=2, slots=2, now=NOW).create == ("waiting",)
    assert plan([refill], busy=2, slots=2, now=NOW).create == ()


def test_a_storm_leaves_a_processor_to_the_others() -> None:
    storm = Stand(environment="storm", target=4, waiting=50, storm=True)
    refill = Stand(environment="refill", target=4)
    assert plan([storm], busy=0, slots=4, now=NOW).create == ("storm",) * 3
    assert plan([storm], busy=0, slots=1, now=NOW).create == ("storm",)
    assert plan([storm, refill], busy=1, slots=2, now=NOW).create == ("refill",)


def test_environments_take_turns() -> None:
    large, small = Stand(environment="large", target=100), Stand(environment="small", target=2)
    made = plan([large, small], busy=0, slots=6, now=NOW).create
    assert Counter(made) == {"large": 4, "small": 2}
    assert set(made[:2]) == {"large", "small"}


def test_the_one_that_had_its_turn_longer_ago_is_next() -> None:
    early, late = (
        Stand(environment=name, target=9, turn=turn) for name, turn in (("early", 3), ("late", 7))
    )
    assert plan([late, early], busy=0, slots=1, now=NOW).create == ("early",)


@pytest.mark.parametrize(
    ("idle", "old", "goes"), [(0, 4, 0), (1, 4, 1), (2, 3, 1), (4, 4, 4), (0, 6, 2)]
)
def test_for_each_new_sandbox_one_of_another_version_goes(idle: int, old: int, goes: int) -> None:
    stand = Stand(environment="e", target=4, idle=idle, old=old)
    assert plan([stand], busy=9, slots=1, now=NOW).destroy_old.get("e", 0) == goes


def test_where_there_is_no_room_the_largest_pool_gives_way_to_who_waits() -> None:
    small, large = (Stand(environment=str(n), target=n, idle=n) for n in (2, 9))
    waiting = Stand(environment="w", target=0, waiting=3, crowded=True, retry_at=NOW + 1.0)
    everything = [small, large, waiting]
    assert plan(everything, busy=0, slots=2, now=NOW).destroy_idle == {"9": 1}
    assert not plan(everything, busy=0, slots=2, now=NOW, freeing=True).destroy_idle
    refilling = replace(waiting, waiting=0, target=3)
    assert not plan([small, large, refilling], busy=0, slots=2, now=NOW).destroy_idle
    trying = replace(waiting, retry_at=0.0)
    assert not plan([small, large, trying], busy=0, slots=2, now=NOW).destroy_idle
    making = replace(waiting, creating=1)
    assert not plan([small, large, making], busy=1, slots=2, now=NOW).destroy_idle


def test_an_environment_that_wants_none_keeps_none() -> None:
    stand = Stand(environment="e", target=0, idle=3, old=2)
    actions = plan([stand], busy=0, slots=1, now=NOW)
    assert (actions.destroy_idle, actions.destroy_old) == ({"e": 3}, {"e": 2})


def test_what_a_share_that_is_about_to_grow_takes_in_is_not_too_many() -> None:
    stand = Stand(environment="e", target=2, idle=4)
    assert not plan([stand], busy=0, slots=1, now=NOW, growing=True).destroy_idle
    assert plan([stand], busy=0, slots=1, now=NOW).destroy_idle == {"e": 2}


@given(st.integers(min_value=1, max_value=10_000), st.floats(min_value=0.0, max_value=1.0))
def test_a_delay_doubles_up_to_half_a_minute_and_is_jittered_by_half(failures, jitter) -> None:
    whole = backoff(failures, 0.0)
    assert whole == min(MOST_DELAY, FIRST_DELAY * 2.0 ** (min(failures, 99) - 1))
    assert whole / 2.0 <= backoff(failures, jitter) <= whole


def test_a_failure_that_is_over_leaves_no_limit() -> None:
    assert missing(Stand(environment="e", target=5, failures=2), NOW) == 1
    assert missing(Stand(environment="e", target=5), NOW) == 5


def idle(sandbox_id: str, *, age: float = 0.0, lost: bool = False) -> IdleSandbox:
    return IdleSandbox(id=sandbox_id, lost=lost, checked_at=NOW - age)


def test_lost_ones_go_at_once_and_the_longest_unheard_of_are_asked_first() -> None:
    sandboxes = [
        idle("fresh"),
        idle("old", age=CHECK_SECONDS),
        idle("lost", lost=True),
        idle("older", age=CHECK_SECONDS + 5),
        idle("oldest", age=CHECK_SECONDS + 9),
    ]
    inspection = inspect(sandboxes, room=2, now=NOW)
    assert inspection.remove == ("lost",)
    assert inspection.check == ("oldest", "older")
    assert inspect(sandboxes, room=-1, now=NOW).check == ()


def test_of_those_told_to_leave_only_idle_ones_do() -> None:
    assert leaving(["a", "b", "c"], ["c", "x", "a"]) == ("a", "c")
    assert leaving(["a"], []) == ()
