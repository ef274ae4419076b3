"""Answers that are sent bit by bit, and how much a question may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from assay.api.auth import Caller
from assay.api.route import Call
from assay.api.streamed import send_pieces
from assay.domain.errors import InvalidInput, StorageError


async def asked(pieces: AsyncIterator[bytes]) -> bytes:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await send_pieces(request, {}, pieces)
        except StorageError:
            return web.Response(status=503)

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestClient(TestServer(app)) as client, client.get("/") as answer:
        return (await answer.read()) if answer.status == 200 else b"503"


async def large(*, breaks_after: int | None = None) -> AsyncIterator[bytes]:
    for number in range(5):
        if number == breaks_after:
            raise StorageError("the database is gone")
        yield bytes(100_000)


async def test_what_is_whole_ends_as_it_should() -> None:
    assert len(await asked(large())) == 500_000


async def test_what_breaks_off_is_cut_and_not_taken_for_the_whole() -> None:
    with pytest.raises(aiohttp.ClientPayloadError):
        await asked(large(breaks_after=3))


async def test_what_is_wrong_at_the_start_is_a_problem_of_its_own() -> None:
    assert await asked(large(breaks_after=0)) == b"503"


def call(query: str) -> Call:
    request = make_mocked_request("GET", f"/?{query}")
    nobody = Caller(token_id="t", name="t", scopes=frozenset())
    return Call(request, None, nobody, None, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("query", "most"), [("", 100), ("most=1", 1), ("most=1000", 1000)])
def test_a_page_is_as_long_as_is_asked(query: str, most: int) -> None:
    assert call(query).most == most


@pytest.mark.parametrize("text", ["0", "1001", "-1", "", "x", "1e2", "%D9%A3", "0" * 5000 + "1"])
def test_no_page_is_longer_than_it_may_be(text: str) -> None:
    with pytest.raises(InvalidInput, match="most is from 1 to 1000"):
        _ = call(f"most={text}").most
