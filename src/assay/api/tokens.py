"""Tokens over HTTP: make, list, revoke. A token's text is in one answer only: its maker's."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from assay.api.answers import empty, json, time_of, time_or_none
from assay.api.route import Call, Route
from assay.api.services import TokenStore
from assay.domain.errors import CapabilityMissing, Forbidden, NotFound
from assay.domain.token import Scope
from assay.storage.records import TokenRecord
from assay.storage.tokens import issue_token

Quota = Annotated[int, Meta(gt=0, lt=2**31)] | None
Amount = Annotated[float, Meta(gt=0, lt=2**31)] | None


class NewToken(msgspec.Struct, rename="camel", kw_only=True):
    """What a new token is to be; without a quota it has none."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Meta(min_length=1)]
    lifetime_seconds: Amount = None
    most_runners: Quota = None
    """At one time."""
    most_executions: Quota = None
    """At one time."""
    requests_per_second: Amount = None
    burst: Quota = None
    """Requests at once, after a time of quiet."""
    courses: Annotated[list[str], Meta(max_length=200)] = []
    """The ids of those that the scope `teach` is for; none: all that the maker's is for."""


class TokenAnswer(msgspec.Struct, rename="camel", kw_only=True, omit_defaults=True):
    """What is known of a token. Times are of RFC 3339."""

    id: str
    name: str
    prefix: str
    """Its first letters, by which people know it again."""
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    most_runners: int | None = None
    most_executions: int | None = None
    requests_per_second: float | None = None
    burst: int | None = None
    courses: list[str] = []
    """Those that the scope `teach` is for; none: all of them."""
    token: str | None = None
    """Its text: only in the answer to the request that made it."""


class TokenList(msgspec.Struct):
    """All tokens, revoked ones, too; the oldest first."""

    tokens: list[TokenAnswer]


def _answer(record: TokenRecord, token: str | None = None) -> TokenAnswer:
    return TokenAnswer(
        id=record.id,
        name=record.name,
        prefix=record.prefix,
        scopes=sorted(record.scopes),
        created_at=time_of(record.created_at),
        expires_at=time_or_none(record.expires_at),
        revoked_at=time_or_none(record.revoked_at),
        most_runners=record.most_runners,
        most_executions=record.most_executions,
        requests_per_second=record.requests_per_second,
        burst=record.burst,
        courses=sorted(record.courses),
        token=token,
    )


def _store(call: Call) -> TokenStore:
    if call.services.tokens is None:
        raise CapabilityMissing("this server keeps no tokens")
    return call.services.tokens


async def _make(call: Call) -> web.StreamResponse:
    asked: NewToken = call.body
    more = frozenset(asked.scopes) - call.caller.scopes
    if more:
        raise Forbidden(f"this token can't give what it has not: {', '.join(sorted(more))}")
    courses = _courses(call, asked)
    store = _store(call)
    token, record = issue_token(
        name=asked.name,
        scopes=asked.scopes,
        now=store.clock(),
        lifetime_seconds=asked.lifetime_seconds,
        most_runners=asked.most_runners,
        most_executions=asked.most_executions,
        requests_per_second=asked.requests_per_second,
        burst=asked.burst,
        courses=courses,
    )
    await store.add_token(record)
    call.services.authenticator.forget()
    answer = json(_answer(record, token), status=201)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _courses(call: Call, asked: NewToken) -> frozenset[str]:
    """Nobody has more courses taught than it may teach itself. Raises Forbidden."""
    wanted, own = frozenset(asked.courses), call.caller.courses
    if Scope.TEACH not in asked.scopes or not own:
        return wanted
    if wanted - own:
        more = ", ".join(sorted(wanted - own))[:200]
        raise Forbidden(f"this token can't give what it has not: to teach {more}")
    return wanted or own


async def _list(call: Call) -> web.StreamResponse:
    return json(TokenList([_answer(record) for record in await _store(call).tokens()]))


async def _revoke(call: Call) -> web.StreamResponse:
    if not await _store(call).revoke_token(call.request.match_info["token_id"]):
        raise NotFound("there is no such token, or it is revoked already")
    call.services.authenticator.forget()
    return empty()


ROUTES: Final = (
    Route(
        method="POST",
        path="/tokens",
        handler=_make,
        summary="Make a token; its text is in this answer only",
        scope="tokens",
        request=NewToken,
        responses={201: TokenAnswer},
        problems=(503,),
    ),
    Route(
        method="GET",
        path="/tokens",
        handler=_list,
        summary="All tokens, without their texts",
        scope="tokens",
        responses={200: TokenList},
        problems=(503,),
    ),
    Route(
        method="DELETE",
        path="/tokens/{token_id}",
        handler=_revoke,
        summary="Revoke a token: it opens nothing within five seconds, here at once",
        scope="tokens",
        responses={204: None},
        problems=(404, 503),
    ),
)
