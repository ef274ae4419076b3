"""Who asks, and what they may do.

A token comes in `Poseidon-Token` or `Authorization: Bearer`. It is known by its SHA-256 alone:
tokens are long and random, so no slow hash is needed, and the database holds nothing that opens
anything. What the database said is believed for a few seconds, so a revoked token ends soon
without a look-up for every request.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol

from assay.api.limits import Buckets, Rate, too_often
from assay.domain.errors import Forbidden, InvalidInput, Unauthenticated
from assay.domain.token import Scope, hash_of, is_token
from assay.storage.records import TokenRecord

BELIEVED_SECONDS: Final = 4.0
"""How long an answer of the database is believed: a revoked token ends within five seconds."""
STRANGERS_MOST: Final = 1024
"""Wrong tokens that are remembered, so that one repeated does not reach the database each time."""
KNOWN_MOST: Final = 4096
"""Right tokens that are remembered at one time, even if they are to be looked up again."""
WRONG_TOKENS: Final = Rate(per_second=1.0, burst=20)
"""How often an address may name a wrong token."""
QUIET_SECONDS: Final = 60.0
"""A token that has not asked for so long owes other servers nothing."""
SECRET_LEAST: Final = 16
"""Characters of a shared secret: fewer can be guessed over the network."""
TOKEN_MOST: Final = 512
"""Characters of a token that are looked at."""
SHARED: Final = "shared"
"""The id of whoever uses the shared secret."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who asks: a token, the shared secret, or anybody where nothing is asked for."""

    token_id: str = ""
    """The owner of what it makes; "" when there is no authentication."""
    name: str = "anybody"
    scopes: frozenset[str] = frozenset(Scope)
    rate: Rate | None = None
    most_runners: int | None = None
    most_executions: int | None = None
    courses: frozenset[str] = frozenset()
    """The ids of those that its scope `teach` is for; none: all of them."""

    @property
    def owner(self) -> str | None:
        """Whose runners it may use: its own, or everybody's (None)."""
        return None if Scope.ADMIN in self.scopes else self.token_id

    def require(self, scope: str) -> None:
        """Raise Forbidden unless its token has the scope."""
        if scope not in self.scopes:
            raise Forbidden(f"this token lacks the scope {scope!r}")

    def teaches(self, course: str) -> bool:
        """Whether all of a course is shown to it, and whether it may change its grades."""
        return Scope.TEACH in self.scopes and (not self.courses or course in self.courses)

    def require_teaches(self, course: str) -> None:
        """Raise Forbidden unless it teaches a course, whether there is one or not."""
        if not self.teaches(course):
            raise Forbidden(f"this token does not teach the course {course[:80]!r}")


ANYBODY: Final = Caller()


class Tokens(Protocol):
    """Where tokens are kept; `assay.storage.Storage` is one."""

    async def token_by_hash(self, digest: bytes, /) -> TokenRecord | None:
        """The token with this SHA-256."""
        ...

    def clock(self) -> float:
        """Seconds since 1970, on the database's clock."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Believed:
    caller: Caller | None
    until: float
    """On the monotonic clock."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Spent:
    seconds: float
    at: float
    """When it was asked last, on the monotonic clock."""


class Authenticator:
    """Tells who asks. Without a store and a shared secret, anybody may do anything."""

    def __init__(
        self,
        tokens: Tokens | None = None,
        *,
        shared_secret: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._known: dict[bytes, _Believed] = {}
        self._strangers: dict[bytes, float] = {}
        self.change(tokens, shared_secret=shared_secret)
        self._buckets = Buckets(clock=clock)
        self._spent: dict[str, _Spent] = {}
        self._failures = Buckets(clock=clock)

    def __repr__(self) -> str:
        return f"Authenticator(open={self.open})"

    def change(self, tokens: Tokens | None, *, shared_secret: str | None) -> None:
        """Take these from now on, and believe nothing that was said before.

        Raises InvalidInput, and goes on as before, for a secret that is too short.
        """
        if shared_secret is not None and len(shared_secret) < SECRET_LEAST:
            raise InvalidInput(
                f"the shared token needs at least {SECRET_LEAST} characters; this makes a good "
                "one: openssl rand -hex 24"
            )
        self._tokens = tokens
        self._secret = None if shared_secret is None else hash_of(shared_secret)
        self.forget()

    @property
    def open(self) -> bool:
        """Nobody needs a token: only for a server that listens on loopback alone."""
        return self._tokens is None and self._secret is None

    async def authenticate(
        self, headers: Mapping[str, str], address: str, *, counted: bool = False
    ) -> Caller:
        """Say who sends these headers from this address.

        `counted`: another server has let the request in, and counted it.
        Raises Unauthenticated; RateLimited for a token that asks too often, and for an address
        that has named too many wrong ones.
        """
        if self.open:
            if not counted:
                refuse_browsers(headers)
            return ANYBODY
        token = token_in(headers)
        if token is None:
            raise Unauthenticated("a token is missing: send it as Authorization: Bearer TOKEN")
        digest = hash_of(token)
        caller = self._believed(digest)
        if caller is None:
            caller = await self._ask(token, digest, address)
        if caller.rate is not None and not counted:
            self._buckets.take(caller.token_id, caller.rate)
            self._note_spent(caller.token_id, 1 / caller.rate.per_second)
        return caller

    def _note_spent(self, token_id: str, seconds: float) -> None:
        before = self._spent.get(token_id)
        total = seconds + (before.seconds if before is not None else 0.0)
        self._spent[token_id] = _Spent(seconds=total, at=self._clock())

    def spent(self) -> Mapping[str, float]:
        """Of each token that asks, the seconds of its rate that were taken here: for the other
        servers of the database. One that has not asked for a while begins with 0 again.
        """
        now = self._clock()
        self._spent = {
            token: spent for token, spent in self._spent.items() if now - spent.at < QUIET_SECONDS
        }
        return {token: spent.seconds for token, spent in self._spent.items()}

    def charge(self, token_id: str, seconds: float) -> None:
        """Other servers have let in requests of a token that take so many seconds of its rate."""
        self._buckets.charge(token_id, seconds)

    def forget(self) -> None:
        """Believe nothing any more: tokens have changed."""
        self._known = {key: replace(known, until=-math.inf) for key, known in self._known.items()}
        self._strangers.clear()

    def _believed(self, digest: bytes) -> Caller | None:
        believed = self._known.get(digest)
        if believed is None or believed.until < self._clock():
            return None
        return believed.caller

    async def _ask(self, token: str, digest: bytes, address: str) -> Caller:
        asker = network_of(address)
        # Who was known a while ago is asked about again, whatever its neighbours guess.
        if digest not in self._known and (wait := self._failures.wait_seconds(asker, WRONG_TOKENS)):
            raise too_often(wait)
        now = self._clock()
        caller = None
        if self._strangers.get(digest, 0.0) < now:
            caller = await self._look_up(token, digest)
        if caller is None:
            self._known.pop(digest, None)
            self._remember_stranger(digest, now)
            self._failures.take(asker, WRONG_TOKENS)
            raise Unauthenticated("this token is not known, or not valid any more")
        return caller

    async def _look_up(self, token: str, digest: bytes) -> Caller | None:
        if self._secret is not None and hmac.compare_digest(digest, self._secret):
            caller = Caller(
                token_id=SHARED, name="shared token", scopes=frozenset(Scope) - {Scope.TOKENS}
            )
            return self._believe(digest, caller, BELIEVED_SECONDS)
        if self._tokens is None or not is_token(token):
            return None
        record = await self._tokens.token_by_hash(digest)
        if record is None or record.revoked_at is not None:
            return None
        left = BELIEVED_SECONDS
        if record.expires_at is not None:
            left = min(left, record.expires_at - self._tokens.clock())
        return self._believe(digest, caller_of(record), left) if left > 0 else None

    def _believe(self, digest: bytes, caller: Caller, seconds: float) -> Caller:
        now = self._clock()
        if len(self._known) >= KNOWN_MOST:
            self._known = {key: known for key, known in self._known.items() if known.until > now}
            if len(self._known) >= KNOWN_MOST:
                self._known.clear()
        self._known[digest] = _Believed(caller=caller, until=now + seconds)
        return caller

    def _remember_stranger(self, digest: bytes, now: float) -> None:
        if len(self._strangers) >= STRANGERS_MOST:
            self._strangers.clear()
        self._strangers[digest] = now + BELIEVED_SECONDS


def caller_of(record: TokenRecord) -> Caller:
    """What a token's record allows."""
    rate = None
    if record.requests_per_second is not None:
        burst = record.burst or max(1, round(2 * record.requests_per_second))
        rate = Rate(per_second=record.requests_per_second, burst=burst)
    return Caller(
        token_id=record.id,
        name=record.name,
        scopes=frozenset(record.scopes),
        rate=rate,
        most_runners=record.most_runners,
        most_executions=record.most_executions,
        courses=record.courses,
    )


def token_in(headers: Mapping[str, str]) -> str | None:
    """The token of a request, or None."""
    token = headers.get("Poseidon-Token")
    if not token:
        kind, _, token = headers.get("Authorization", "").partition(" ")
        token = token.strip() if kind.lower() == "bearer" else ""
    return token if 0 < len(token) <= TOKEN_MOST else None


def network_of(address: str) -> str:
    """What counts as one asker: an IPv4 address, or the /64 that one line of IPv6 gets."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(known, ipaddress.IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(ipaddress.ip_network((known, 64), strict=False))
    return str(known)


def may_be_open(host: str) -> bool:
    """Whether a server without authentication may listen on this host: loopback alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def refuse_browsers(headers: Mapping[str, str]) -> None:
    """Where no token is asked for, keep out what a page in the operator's browser can send.

    A page of anybody can make that browser post to 127.0.0.1, and open a WebSocket there; a name
    that it lets point to 127.0.0.1 makes it the same origin. Both show: in Origin and
    Sec-Fetch-Site, and in Host. Raises Forbidden.
    """
    host = headers.get("Host", "")
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    origin = headers.get("Origin")
    if host and not may_be_open(name):
        raise Forbidden(
            f"a server without tokens answers to localhost, not to {name[:80]!r}",
        )
    if origin is not None and origin.partition("://")[2] != host:
        raise Forbidden("a server without tokens does not answer pages of other origins")
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Forbidden("a server without tokens does not answer pages of other origins")
