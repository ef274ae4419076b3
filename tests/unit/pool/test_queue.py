"""Who is next, and who has had enough."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.errors import PoolExhausted
from assay.pool.queue import FairQueue, RecentClaims, greedy, kept_back

entries = st.lists(st.sampled_from("abcd"), max_size=60)


def drained(queue: FairQueue[tuple[str, int]]) -> list[tuple[str, int]]:
    items = []
    while (item := queue.take()) is not None:
        items.append(item)
    return items


def filled(owners: list[str]) -> FairQueue[tuple[str, int]]:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    for number, owner in enumerate(owners):
        queue.add(owner, (owner, number))
    return queue


@given(entries)
def test_everybody_gets_a_turn_once_and_in_the_owners_own_order(owners) -> None:
    queue = filled(owners)
    assert len(queue) == len(owners)
    items = drained(queue)
    assert len(queue) == 0
    assert sorted(items, key=lambda item: item[1]) == list(
        zip(owners, range(len(owners)), strict=True)
    )
    numbers = defaultdict(list)
    for owner, number in items:
        numbers[owner].append(number)
    assert all(each == sorted(each) for each in numbers.values())


@given(entries)
def test_owners_take_turns(owners) -> None:
    """At any time nobody who still waits was served two times less than another."""
    left = Counter(owners)
    served: Counter[str] = Counter()
    for owner, _ in drained(filled(owners)):
        served[owner] += 1
        left[owner] -= 1
        for other in left:
            if left[other]:
                assert served[owner] - served[other] <= 1


@given(entries, st.data())
def test_whoever_leaves_costs_the_others_nothing(owners, data) -> None:
    queue = filled(owners)
    everything = list(zip(owners, range(len(owners)), strict=True))
    leaving = data.draw(st.sets(st.sampled_from(everything))) if everything else set()
    for owner, number in leaving:
        queue.discard(owner, (owner, number))
        queue.discard(owner, (owner, number))
    assert len(queue) == len(everything) - len(leaving)
    assert sorted(drained(queue)) == sorted(set(everything) - leaving)


def test_a_newcomer_waits_for_one_turn_of_each_other_owner_only() -> None:
    queue = filled(["storm"] * 100)
    queue.add("newcomer", ("newcomer", 0))
    assert [queue.take()[0], queue.take()[0]] == ["storm", "newcomer"]


def test_who_is_barred_is_passed_over_and_keeps_the_turn() -> None:
    queue = filled(["a", "b", "a"])
    assert queue.take(lambda owner: owner == "a") == ("b", 1)
    assert queue.take(lambda owner: owner == "a") is None
    assert queue.take() == ("a", 0)


def test_one_owner_can_only_have_so_many_waiting() -> None:
    queue: FairQueue[int] = FairQueue(most_waiting=2)
    queue.add("a", 1)
    queue.add("a", 2)
    with pytest.raises(PoolExhausted):
        queue.add("a", 3)
    queue.add("b", 4)
    queue.discard("a", 1)
    queue.add("a", 5)
    assert sorted(queue.take_all()) == [2, 4, 5]
    assert len(queue) == 0


def test_claims_count_less_and_less_and_are_forgotten() -> None:
    recent = RecentClaims()
    for _ in range(8):
        recent.add("a", 0.0)
    assert recent.counts(0.0) == {"a": 8.0}
    assert recent.counts(5.0) == pytest.approx({"a": 4.0})
    assert recent.counts(10.0) == pytest.approx({"a": 2.0})
    assert recent.counts(60.0) == {}


def test_the_only_owner_is_never_greedy() -> None:
    assert greedy({"a": 1000.0}, {"a": 200}) == frozenset()


def test_who_had_much_more_than_the_others_is_greedy() -> None:
    assert greedy({"storm": 30.0, "a": 2.0}, {}) == {"storm"}
    assert greedy({"a": 12.0, "b": 10.0}, {}) == frozenset()
    assert greedy({"a": 3.0, "b": 0.1}, {}) == frozenset(), "three are not many"


def test_who_asks_for_much_more_than_the_others_is_greedy_whatever_they_had() -> None:
    assert greedy({"a": 20.0}, {"storm": 5, "a": 1}) == {"storm"}
    assert greedy({"a": 4.0}, {"b": 2}) == frozenset(), "two are not many"
    assert greedy({}, {"a": 30, "b": 25}) == frozenset()


@given(st.dictionaries(st.text(max_size=2), st.floats(min_value=0.0, max_value=1e6)))
def test_somebody_is_always_allowed(recent) -> None:
    assert not recent or greedy(recent, {}) < set(recent)


def test_a_quarter_is_kept_back_and_at_least_one() -> None:
    assert [kept_back(target) for target in (0, 1, 4, 5, 16)] == [0, 1, 1, 2, 4]
