"""Values between tests and learners: they come back as they were, or are refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.grading.frameworks.inside import values
from assay.grading.frameworks.inside.values import Unfit, decode, dumps, encode, loads

HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(max_size=40),
)
PLAIN = st.recursive(
    st.one_of(HASHABLE, st.complex_numbers(allow_nan=False), st.binary().map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4),
    ),
    max_leaves=20,
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.one_of(st.text(), st.sampled_from("itsfdabco")), inner, max_size=2),
    ),
)


def refused(value: Any) -> dict[str, Any]:
    raise Unfit(str(value))


def carried(value: Any) -> Any:
    return decode(loads(dumps(encode(value, refused))), refused)


@given(PLAIN)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    back = carried(value)
    assert back == value
    assert type(back) is type(value)


@given(JSON)
def test_hostile_messages_become_plain_values_or_are_refused(message: Any) -> None:
    try:
        value = decode(loads(json.dumps(message).encode()), refused)
    except Unfit:
        return
    encode(value, refused)


@given(st.binary(max_size=200))
def test_hostile_bytes_become_messages_or_are_refused(text: bytes) -> None:
    with contextlib.suppress(Unfit):
        loads(text)


@pytest.mark.parametrize(
    "text",
    [b"[" * 500_000, b'{"t":' * 100_000, b"9" * 5000, b'{"d":[[[],1]]}', b'{"s":[{"d":[]}]}'],
)
def test_a_message_that_would_harm_is_refused(text: bytes) -> None:
    with pytest.raises(Unfit):
        decode(loads(text), refused)


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__

    def __index__(self) -> int:
        return 42


def test_a_number_of_a_class_of_its_own_arrives_as_a_number() -> None:
    back = carried([Liar(1)])
    assert type(back[0]) is int
    assert back == [1]


def test_what_is_nested_too_deeply_or_in_itself_is_refused() -> None:
    inside: list[Any] = []
    inside.append(inside)
    with pytest.raises(Unfit, match="nested"):
        encode(inside, refused)


def test_what_is_too_long_is_refused() -> None:
    with pytest.raises(Unfit, match="at most"):
        dumps("x" * values.MESSAGE_MOST)


def test_an_object_is_what_its_owner_makes_of_it() -> None:
    thing = object()
    data = encode((thing, 1), lambda value: {"o": 7})
    assert decode(data, lambda found: (found["o"], thing)) == ((7, thing), 1)
