"""A new token and its record."""

import re

import pytest

from assay.domain.errors import InvalidInput
from assay.domain.token import hash_of, is_token
from assay.storage.records import ExecutionRecord, TokenRecord
from assay.storage.tokens import issue_token


def issue(**changed: object) -> tuple[str, TokenRecord]:
    return issue_token(**{"name": "LMS", "scopes": ["run"], "now": 100.0, **changed})  # type: ignore[arg-type]


def test_the_record_knows_the_token_by_its_hash_and_first_letters_only() -> None:
    token, record = issue()
    assert is_token(token)
    assert record.hash == hash_of(token)
    assert record.prefix == token[:10]
    assert token not in repr(record)
    assert token[11:] not in repr(record)


def test_a_token_without_an_end_is_always_good() -> None:
    _, record = issue()
    assert record.is_good(1e12)


def test_a_token_ends_after_its_lifetime() -> None:
    _, record = issue(lifetime_seconds=50)
    assert record.is_good(149.9)
    assert not record.is_good(150.0)


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 101, "a\0", "\x1b[31m"])
def test_a_name_is_a_line_that_can_be_shown(name: str) -> None:
    with pytest.raises(InvalidInput):
        issue(name=name)


@pytest.mark.parametrize("value", [0, -1, 2**31, float("nan"), float("inf")])
@pytest.mark.parametrize(
    "quota",
    ["most_runners", "most_executions", "requests_per_second", "burst", "lifetime_seconds"],
)
def test_a_quota_is_above_zero(quota: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=quota):
        issue(**{quota: value})


def test_a_command_is_not_in_a_records_text() -> None:
    record = ExecutionRecord(
        id="e", runner_id="r", number=1, command=b"PASSWORD", mode="poseidon", created_at=1.0
    )
    assert not re.search("PASSWORD", repr(record))
