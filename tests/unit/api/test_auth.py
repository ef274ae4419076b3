import traceback
from dataclasses import replace
from typing import Any

import pytest

from assay.api.auth import (
    STRANGERS_MOST,
    Authenticator,
    may_be_open,
    network_of,
    token_in,
)
from assay.domain.errors import Forbidden, InvalidInput, RateLimited, Unauthenticated
from assay.domain.token import Scope, hash_of, make_token
from assay.storage.records import TokenRecord
from assay.storage.tokens import issue_token

SECRET = "a-shared-secret-of-tests"


class Store:
    """Tokens in memory, which counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.records: dict[bytes, TokenRecord] = {}

    def add(self, **changes: Any) -> str:
        token, record = issue_token(name="a test", scopes=["run"], now=1000.0)
        self.records[record.hash] = replace(record, id="t1", **changes)
        return token

    def revoke(self, token: str) -> None:
        digest = hash_of(token)
        self.records[digest] = replace(self.records[digest], revoked_at=1000.0)

    async def token_by_hash(self, digest: bytes) -> TokenRecord | None:
        self.asked += 1
        return self.records.get(digest)

    def clock(self) -> float:
        return 1000.0


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def authenticator(store: Store, clock: Clock) -> Authenticator:
    return Authenticator(store, shared_secret=SECRET, clock=clock)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_comes_in_either_field(authenticator: Authenticator, store: Store) -> None:
    token = store.add()
    for headers in (
        bearer(token),
        {"Poseidon-Token": token},
        {"Authorization": f"bearer  {token}"},
    ):
        caller = await authenticator.authenticate(headers, "10.0.0.1")
        assert caller.token_id == "t1"
        assert caller.owner == "t1"


async def test_who_is_known_is_not_looked_up_each_time(
    authenticator: Authenticator, store: Store
) -> None:
    token = store.add()
    for _ in range(100):
        await authenticator.authenticate(bearer(token), "10.0.0.1")
    assert store.asked == 1


async def test_a_revoked_token_ends_within_five_seconds(
    authenticator: Authenticator, store: Store, clock: Clock
) -> None:
    token = store.add()
    await authenticator.authenticate(bearer(token), "10.0.0.1")
    store.revoke(token)
    clock.now += 5.0
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(bearer(token), "10.0.0.1")


async def test_a_server_that_revokes_a_token_itself_forgets_it_at_once(
    authenticator: Authenticator, store: Store
) -> None:
    token = store.add()
    await authenticator.authenticate(bearer(token), "10.0.0.1")
    store.revoke(token)
    authenticator.forget()
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(bearer(token), "10.0.0.1")


async def test_a_token_ends_when_it_expires_not_when_the_memory_of_it_does(
    authenticator: Authenticator, store: Store, clock: Clock
) -> None:
    token = store.add(expires_at=1001.0)
    await authenticator.authenticate(bearer(token), "10.0.0.1")
    store.records.clear()
    clock.now += 1.1
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(bearer(token), "10.0.0.1")
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(bearer(store.add(expires_at=999.0)), "10.0.0.1")


async def test_the_shared_secret_may_everything_but_make_tokens(
    authenticator: Authenticator,
) -> None:
    caller = await authenticator.authenticate({"Poseidon-Token": SECRET}, "10.0.0.1")
    assert caller.scopes == frozenset(Scope) - {Scope.TOKENS}
    assert caller.owner is None


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Poseidon-Token": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": f"Basic {SECRET}"},
        {"Poseidon-Token": SECRET[:-1]},
        {"Poseidon-Token": SECRET + "\ud800"},
        {"Poseidon-Token": "x" * 100_000},
        {"Cookie": f"token={SECRET}"},
    ],
)
async def test_anything_else_is_nobody(
    authenticator: Authenticator, headers: dict[str, str]
) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(headers, "10.0.0.1")


async def test_wrong_tokens_from_one_address_are_slowed_down_and_cost_no_look_ups(
    authenticator: Authenticator, store: Store
) -> None:
    token = store.add()
    await authenticator.authenticate(bearer(token), "10.0.0.1")
    refused = 0
    for _ in range(1000):
        with pytest.raises((Unauthenticated, RateLimited)) as caught:
            await authenticator.authenticate(bearer(make_token()), "10.0.0.1")
        refused += caught.type is RateLimited
    assert refused == 980
    assert store.asked == 21
    # Who is known already goes on, even from that address; others are not concerned at all.
    await authenticator.authenticate(bearer(token), "10.0.0.1")
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(bearer(make_token()), "10.0.0.2")


@pytest.mark.parametrize("changed", [False, True], ids=["a while later", "tokens have changed"])
async def test_who_was_known_is_not_locked_out_by_what_others_guess(
    authenticator: Authenticator, store: Store, clock: Clock, changed: bool
) -> None:
    token = store.add()
    await authenticator.authenticate(bearer(token), "10.0.0.1")
    for _ in range(40):
        with pytest.raises((Unauthenticated, RateLimited)):
            await authenticator.authenticate(bearer(make_token()), "10.0.0.1")
    if changed:
        authenticator.forget()
    else:
        clock.now += 3600.0
        for _ in range(40):
            with pytest.raises((Unauthenticated, RateLimited)):
                await authenticator.authenticate(bearer(make_token()), "10.0.0.1")
    assert (await authenticator.authenticate(bearer(token), "10.0.0.1")).token_id == "t1"
    # One that was taken back is a stranger's from then on.
    store.revoke(token)
    authenticator.forget()
    with pytest.raises((Unauthenticated, RateLimited)):
        await authenticator.authenticate(bearer(token), "10.0.0.1")
    asked = store.asked
    with pytest.raises(RateLimited):
        await authenticator.authenticate(bearer(token), "10.0.0.1")
    assert store.asked == asked


async def test_one_wrong_token_repeated_is_looked_up_once(
    authenticator: Authenticator, store: Store
) -> None:
    wrong = make_token()
    for _ in range(10):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(bearer(wrong), "10.0.0.1")
    assert store.asked == 1


async def test_strangers_cost_bounded_memory(authenticator: Authenticator) -> None:
    for stranger in range(3 * STRANGERS_MOST):
        with pytest.raises(Unauthenticated):
            await authenticator.authenticate(
                bearer(make_token()), f"10.1.{stranger >> 8}.{stranger & 255}"
            )
    assert len(authenticator._strangers) <= STRANGERS_MOST


async def test_a_token_that_asks_too_often_is_told_when_to_come_again(
    authenticator: Authenticator, store: Store, clock: Clock
) -> None:
    token = store.add(requests_per_second=2.0, burst=4)
    for _ in range(4):
        await authenticator.authenticate(bearer(token), "10.0.0.1")
    with pytest.raises(RateLimited) as caught:
        await authenticator.authenticate(bearer(token), "10.0.0.1")
    assert caught.value.retry_after_seconds == pytest.approx(0.5)
    clock.now += 0.5
    await authenticator.authenticate(bearer(token), "10.0.0.1")


async def test_a_scope_that_is_missing_is_named(authenticator: Authenticator, store: Store) -> None:
    caller = await authenticator.authenticate(bearer(store.add()), "10.0.0.1")
    caller.require(Scope.RUN)
    with pytest.raises(Forbidden, match="tokens"):
        caller.require(Scope.TOKENS)


async def test_no_error_and_no_text_of_it_has_the_token(
    authenticator: Authenticator, store: Store
) -> None:
    wrong, right = make_token(), store.add()
    with pytest.raises(Unauthenticated) as caught:
        await authenticator.authenticate(bearer(wrong), "10.0.0.1")
    caller = await authenticator.authenticate(bearer(right), "10.0.0.1")
    texts = [str(caught.value), caught.value.detail, repr(authenticator), repr(caller)]
    texts += traceback.format_exception(caught.value)
    for token in (wrong, right, SECRET):
        assert not any(token in text for text in texts)


def test_a_shared_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(InvalidInput, match="16 characters"):
        Authenticator(shared_secret="hunter2")


async def test_without_any_authentication_anybody_may_do_anything() -> None:
    caller = await Authenticator().authenticate({"Host": "127.0.0.1:7200"}, "127.0.0.1")
    assert caller.token_id == ""
    assert caller.scopes == frozenset(Scope)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:7200"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1:7200", "Origin": "https://evil.example"},
        {"Host": "127.0.0.1:7200", "Origin": "null"},
        {"Host": "127.0.0.1:7200", "Origin": "http://127.0.0.1:8000"},
        {"Host": "127.0.0.1:7200", "Sec-Fetch-Site": "cross-site"},
        {"Host": "localhost:7200", "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_without_authentication_pages_of_others_are_kept_out(headers: dict[str, str]) -> None:
    with pytest.raises(Forbidden):
        await Authenticator().authenticate(headers, "127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost"},
        {"Host": "[::1]:7200"},
        {"Host": "[::1]"},
        {"Host": "127.0.0.1:7200", "Origin": "http://127.0.0.1:7200"},
        {"Host": "localhost:7200", "Sec-Fetch-Site": "same-origin"},
        {"Host": "localhost:7200", "Sec-Fetch-Site": "none"},
    ],
)
async def test_without_authentication_programs_and_own_pages_pass(headers: dict[str, str]) -> None:
    await Authenticator().authenticate(headers, "127.0.0.1")


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("10.0.0.1", False),
        ("localhost.example", False),
    ],
)
def test_only_loopback_may_be_open(host: str, may: bool) -> None:
    assert may_be_open(host) is may


def test_one_line_of_ipv6_is_one_asker() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == network_of("10.0.0.1")
    assert network_of("no address" * 100) == ("no address" * 100)[:64]


async def test_what_has_not_the_shape_of_a_token_is_not_looked_up(
    authenticator: Authenticator, store: Store
) -> None:
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate(bearer("a-wrong-secret"), "10.0.0.1")
    assert store.asked == 0


def test_a_token_that_is_too_long_is_none() -> None:
    assert token_in({"Poseidon-Token": "x" * 512}) is not None
    assert token_in({"Poseidon-Token": "x" * 513}) is None
