"""Tokens: unguessable, found by their hash, and no more than their scopes."""

import re

import pytest

from assay.domain.errors import InvalidInput
from assay.domain.token import (
    PREFIX,
    Scope,
    hash_of,
    is_same,
    is_token,
    make_token,
    scopes_of,
)


def test_tokens_are_letters_and_digits_and_never_the_same() -> None:
    made = {make_token() for _ in range(1000)}
    assert len(made) == 1000
    assert all(re.fullmatch(r"assay_[A-Za-z0-9]{32}", token) for token in made)
    assert set("".join(made)[len(PREFIX) :]) >= set("abcXYZ0189")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "assay_",
        "x" * 38,
        "assay_" + "a" * 31,
        "assay_" + "a" * 33,
        "assay_" + "é" * 32,
        "assay_" + "a" * 32 + "\n",
        " assay_" + "a" * 32,
        "assay_" + "٣" * 32,
    ],
)
def test_a_text_of_another_shape_is_no_token(text: str) -> None:
    assert not is_token(text)
    assert is_token(make_token())


def test_the_hash_is_of_every_letter() -> None:
    token = make_token()
    assert len(hash_of(token)) == 32
    assert hash_of(token) == hash_of(str(token))
    assert hash_of(token) != hash_of(token[:-1])
    assert hash_of("\udcff") != hash_of("")


def test_secrets_are_the_same_or_not() -> None:
    assert is_same("a secret", "a secret")
    assert not is_same("a secret", "a secreT")
    assert not is_same("", "a secret")
    assert not is_same("ä\udcff", "a secret")


def test_scopes_have_names() -> None:
    assert scopes_of(["run", "admin", "run"]) == {Scope.RUN, Scope.ADMIN}
    assert "run" in scopes_of(["run"])


@pytest.mark.parametrize("names", [[], ["walk"], ["run", ""], ["RUN"]])
def test_an_unknown_scope_is_refused_with_those_that_there_are(names: list[str]) -> None:
    with pytest.raises(InvalidInput, match="run, submit, teach, read, environments, tokens, admin"):
        scopes_of(names)
