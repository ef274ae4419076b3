"""Which node gets a sandbox."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assay.drivers.nodes.choice import HEARD_SECONDS, Stand, choose, takes

NOW = 1000.0
COUNTS = st.integers(0, 20)
STANDS = st.builds(
    Stand,
    name=st.text("abcdef", min_size=1, max_size=3),
    heard_at=st.floats(NOW - 2 * HEARD_SECONDS, NOW),
    draining=st.booleans(),
    sandboxes=COUNTS,
    most=COUNTS,
    stock=COUNTS,
    load=st.floats(0, 10),
    asked=COUNTS,
)
ALL = st.lists(STANDS, max_size=8, unique_by=lambda stand: stand.name)


def stand(name: str, **values: object) -> Stand:
    given: dict[str, object] = {"heard_at": NOW, "most": 10, **values}
    return Stand(name=name, **given)  # type: ignore[arg-type]


@given(ALL)
def test_one_that_takes_a_sandbox_gets_it_and_only_such_a_one(stands: list[Stand]) -> None:
    able = {each.name for each in stands if takes(each, NOW)}
    chosen = choose(stands, NOW)
    assert chosen in able if able else chosen is None


@given(ALL)
def test_the_order_in_which_they_are_looked_at_makes_no_difference(stands: list[Stand]) -> None:
    assert choose(stands, NOW) == choose(reversed(stands), NOW)


@given(ALL)
def test_nobody_waits_for_a_sandbox_while_another_node_has_one_prepared(
    stands: list[Stand],
) -> None:
    able = {each.name: each for each in stands if takes(each, NOW)}
    chosen = choose(stands, NOW)
    if chosen is not None and any(each.prepared for each in able.values()):
        assert able[chosen].prepared


def test_full_silent_and_draining_nodes_get_nothing() -> None:
    assert choose([stand("a", sandboxes=10)], NOW) is None
    assert choose([stand("a", sandboxes=8, asked=2)], NOW) is None
    assert choose([stand("a", heard_at=NOW - HEARD_SECONDS - 1)], NOW) is None
    assert choose([stand("a", draining=True, stock=5)], NOW) is None


def test_many_that_are_asked_for_at_once_are_spread() -> None:
    asked = {"a": 0, "b": 0, "c": 0}
    for _ in range(9):
        chosen = choose([stand(name, stock=9, asked=count) for name, count in asked.items()], NOW)
        assert chosen is not None
        asked[chosen] += 1
    assert asked == {"a": 3, "b": 3, "c": 3}


def test_the_one_with_less_to_do_comes_first_then_the_emptier_one() -> None:
    assert choose([stand("a", load=2.0), stand("b", load=0.1)], NOW) == "b"
    assert choose([stand("a", sandboxes=5), stand("b", sandboxes=4)], NOW) == "b"
