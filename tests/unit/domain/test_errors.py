"""The tree of errors: stable codes, messages, and the drawing that equals the classes."""

import re

import pytest

from assay.domain import errors
from assay.domain.errors import AssayError, FileError, RateLimited


def all_errors(of: type[AssayError] = AssayError) -> list[type[AssayError]]:
    found = [of]
    for below in of.__subclasses__():
        if below.__module__ == errors.__name__:
            found += all_errors(below)
    return found


def test_the_drawing_shows_every_error_with_its_code_and_its_place() -> None:
    drawn = {}
    trail: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z]\w+)(?:\s+([a-z_]+))?", line)
        if found:
            depth = len(found[1]) // 4
            trail[depth:] = [found[2]]
            drawn[found[2]] = (found[3], trail[depth - 1] if depth else "Exception")
    del drawn["AssayError"], drawn["The"]
    assert drawn == {
        each.__name__: (each.code, each.__bases__[0].__name__) for each in all_errors()[1:]
    }


def test_codes_are_unique() -> None:
    codes = [each.code for each in all_errors()]
    assert len(codes) == len(set(codes))


def test_what_may_be_tried_again_is_drawn_so() -> None:
    drawn = set(re.findall(r"([A-Z]\w+) .*\(retryable\)", errors.__doc__ or ""))
    assert drawn == {each.__name__ for each in all_errors() if each.retryable}


def test_an_error_has_a_message_for_users_and_a_detail_for_operators() -> None:
    error = AssayError("do this", detail="because of that")
    assert str(error) == error.message == "do this"
    assert error.detail == "because of that"


def test_a_file_error_has_its_reason() -> None:
    assert FileError("a: not there", reason="ENOENT").reason == "ENOENT"


def test_who_asks_too_often_is_told_when_to_ask_again() -> None:
    assert RateLimited("slower", retry_after_seconds=0.5).retry_after_seconds == 0.5


@pytest.mark.parametrize("error", all_errors(), ids=lambda error: error.__name__)
def test_every_error_explains_itself(error: type[AssayError]) -> None:
    assert error.__doc__
