"""A new token: the text for its user, and the record of it for the database."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from assay.domain.errors import InvalidInput
from assay.domain.token import SHOWN, hash_of, make_token, scopes_of
from assay.storage.records import TokenRecord

_MOST_LETTERS = 100


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
) -> tuple[str, TokenRecord]:
    """A token that nobody has had before, and its record. `now` is of the database's clock.

    Raises InvalidInput for a name, scope, lifetime or quota that makes no sense.
    """
    _require_name(name)
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
        scopes=scopes_of(scopes),
        created_at=now,
        expires_at=None if lifetime_seconds is None else now + lifetime_seconds,
        most_runners=most_runners,
        most_executions=most_executions,
        requests_per_second=requests_per_second,
        burst=burst,
    )


def _require_name(name: str) -> None:
    if not name.isprintable() or not 0 < len(name.strip()) <= len(name) <= _MOST_LETTERS:
        raise InvalidInput(f"a token's name has 1 to {_MOST_LETTERS} printable letters")
