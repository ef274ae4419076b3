"""Requests of run_student."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.domain.errors import InvalidInput
from assay.grading.script.frames import to_request


def payload(*fields: str) -> bytes:
    return b"".join(len(each).to_bytes(4, "little") + each.encode() for each in fields)


def test_a_request_has_words_as_a_shell_would_take_them_apart() -> None:
    request = to_request(payload("cpp", "5", "0", "64", "share", "/task", "", "sh -c 'a b' c"))
    assert request.argv == ("sh", "-c", "a b", "c")
    assert (request.container, request.time_seconds, request.memory_mb) == ("cpp", 5, 64)
    assert request.shares_network


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xff\xff\xff",
        payload("", "-1", "0", "0", "", "/", "", "x"),
        payload("", "9" * 30, "0", "0", "", "/", "", "x"),
        payload("", "0", "0", "0", "", "/", "", "'open"),
        payload("a"),
    ],
)
def test_what_makes_no_sense_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput):
        to_request(content)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(content: bytes) -> None:
    try:
        to_request(content)
    except InvalidInput:
        return
