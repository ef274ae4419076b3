"""What a grader said, from its bytes."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.grading.script.journal import CUSTOM_MOST, JOURNAL_MOST, TEXT_MOST, Said, read_journal


def piece(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


def record(*fields: str) -> bytes:
    return piece(b"".join(piece(field.encode()) for field in fields))


def test_the_last_word_counts() -> None:
    said = read_journal(
        record("result", "", "failed") + record("grade", "1") + record("result", "", "success")
        + record("grade", "22.5") + record("message", "", "", "a") + record("message", "", "", "b")
        + record("message", "", "a", "c")
    )  # fmt: skip
    assert (said.result, said.grade, said.message, said.faults) == ("success", 22.5, "bc", [])


def test_nothing_is_nothing_and_a_fault_is_no_feedback() -> None:
    assert read_journal(b"").nothing
    assert read_journal(record("fault", "wrong")).nothing
    assert not read_journal(record("state", "s")).nothing


@pytest.mark.parametrize(
    "journal",
    [
        b"x",
        b"\xff\xff\xff\xff",
        record("result", "", "success") + b"\x05\0\0\0ab",
        record("result", "success"),
        record("verdict", "success"),
        record(),
        record("grade", "nan"),
        record("grade", "1e999"),
        record("custom", "k", "json", "{"),
        record("custom", "k", "json", "[" * 100_000),
        record("custom", "k", "json", '"\\udcff"'),
        record("custom", "k", "json", '{"\\ud800": 1}'),
        bytes(JOURNAL_MOST + 1),
    ],
)
def test_what_is_no_journal_is_a_fault(journal: bytes) -> None:
    assert read_journal(record("result", "", "success") + journal).faults


@given(st.binary(max_size=300))
def test_no_bytes_are_too_strange(journal: bytes) -> None:
    said = read_journal(journal)
    assert isinstance(said, Said)
    assert said.faults or not journal or said.result is None or said.result


def test_the_same_words_are_the_same_tag_and_made_up_names_are_refused() -> None:
    said = read_journal(record("tag", "a") * 2 + record("tag-set", "*auto-tag-x", "true"))
    assert list(said.tags.values()) == ["a"]


def test_a_message_may_be_appended_to_a_hundred_thousand_times() -> None:
    first = record("message", "q", "", "a" * (JOURNAL_MOST - 7 * 1024 * 1024))
    began = time.thread_time()
    said = read_journal(first + record("message", "q", "a", "b") * 99_999)
    assert time.thread_time() - began < 2
    assert said.parts["q"].message.endswith("ab" + "b" * 99_998)
    assert not said.faults


def test_a_message_that_is_too_long_is_cut_and_a_fault() -> None:
    said = read_journal(
        record("message", "", "a", "a" * (TEXT_MOST - 1)) + record("message", "", "a", "bc")
    )
    assert (len(said.message), said.message[-1], len(said.faults)) == (TEXT_MOST, "b", 1)


def test_custom_values_are_as_large_together_as_can_be_read_in_a_moment() -> None:
    half = json.dumps("x" * (CUSTOM_MOST // 2 - 2))
    two = read_journal(record("custom", "a", "json", half) + record("custom", "b", "json", half))
    assert (set(two.custom), two.faults) == ({"a", "b"}, [])
    more = read_journal(
        record("custom", "a", "json", half) * 2 + record("custom", "c", "auto", "1")
    )
    assert (set(more.custom), more.nothing) == ({"a"}, False)
    assert "more than 1,048,576 characters together" in more.faults[0]
    began = time.thread_time()
    assert read_journal(record("custom", "k", "json", f"[{'{},' * 5_000_000}1]")).faults
    assert time.thread_time() - began < 1


def test_a_value_that_is_too_large_is_no_feedback() -> None:
    assert read_journal(record("custom", "k", "auto", "1" * (CUSTOM_MOST + 1))).nothing
