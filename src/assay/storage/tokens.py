"""A new token: the text for its user, and the record of it for the database."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from assay.domain.errors import InvalidInput
from assay.domain.submission import MOST_LETTERS
from assay.domain.token import SHOWN, Scope, hash_of, make_token, scopes_of
from assay.storage.records import TokenRecord

_MOST_LETTERS = 100
_MOST_COURSES = 200


def issue_token(
    *,
    name: str,
    scopes: Iterable[str],
    now: float,
    lifetime_seconds: float | None = None,
    most_runners: int | None = None,
    most_executions: int | None = None,
    requests_per_second: float | None = None,
    burst: int | None = None,
    courses: Iterable[str] = (),
) -> tuple[str, TokenRecord]:
    """A token that nobody has had before, and its record. `now` is of the database's clock.

    Raises InvalidInput for a name, scope, lifetime, quota or course that makes no sense.
    """
    _require_name(name)
    given, limited = scopes_of(scopes), frozenset(courses)
    _require_courses(given, limited)
    quotas = {
        "most_runners": most_runners,
        "most_executions": most_executions,
        "requests_per_second": requests_per_second,
        "burst": burst,
        "lifetime_seconds": lifetime_seconds,
    }
    for what, value in quotas.items():
        if value is not None and not 0 < value < 2**31:
            raise InvalidInput(f"{what} must be more than zero, and below 2^31, not {value}")
    token = make_token()
    return token, TokenRecord(
        id=str(uuid.uuid4()),
        name=name,
        hash=hash_of(token),
        prefix=token[:SHOWN],
        scopes=given,
        created_at=now,
        expires_at=None if lifetime_seconds is None else now + lifetime_seconds,
        most_runners=most_runners,
        most_executions=most_executions,
        requests_per_second=requests_per_second,
        burst=burst,
        courses=limited,
    )


def _require_courses(scopes: frozenset[Scope], courses: frozenset[str]) -> None:
    if courses and Scope.TEACH not in scopes:
        raise InvalidInput("courses limit the scope teach, which this token is not to have")
    if len(courses) > _MOST_COURSES:
        raise InvalidInput(f"a token is for {_MOST_COURSES} courses at most, or for all of them")
    for each in courses:
        if not each.isprintable() or not 0 < len(each) <= MOST_LETTERS:
            raise InvalidInput(f"a course's id has 1 to {MOST_LETTERS} printable letters")


def _require_name(name: str) -> None:
    if not name.isprintable() or not 0 < len(name.strip()) <= len(name) <= _MOST_LETTERS:
        raise InvalidInput(f"a token's name has 1 to {_MOST_LETTERS} printable letters")
