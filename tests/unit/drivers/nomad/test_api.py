"""Requests to Nomad, and what becomes of answers that are none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from assay.domain.errors import DriverUnavailable, RuntimeFailed
from assay.drivers.nomad.api import Nomad, NotThere
from assay.drivers.nomad.options import Options
from assay.drivers.nomad.tls import refused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def asking(
    handler: Handler, *, tls: ssl.SSLContext | None = None, more: str = "", **options: str
) -> AsyncIterator[Nomad]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    async with TestServer(app, host="127.0.0.1") as server:
        if tls is not None:
            await server.close()
            server = TestServer(app, host="127.0.0.1", scheme="https")
            await server.start_server(ssl=tls)
        address = f"{more} {server.make_url('')}".strip()
        nomad = Nomad(Options(address=address, **options))
        try:
            yield nomad
        finally:
            await nomad.aclose()
            await server.close()


async def test_a_request_says_who_asks_and_where() -> None:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request)
        return web.json_response([{"ID": "a"}], headers={"X-Nomad-Index": "7"})

    async with asking(handle, token="hush", namespace="school", region="eu") as nomad:
        assert await nomad.jobs("assay-") == [{"ID": "a"}]
        answer = await nomad.allocations("assay-1", 6, 5)
    assert seen[0].headers["X-Nomad-Token"] == "hush"
    assert dict(seen[0].query) == {"namespace": "school", "region": "eu", "prefix": "assay-"}
    assert (seen[1].query["index"], seen[1].query["wait"], answer.index) == ("6", "5s", 7)


async def test_a_cluster_that_chooses_a_leader_is_asked_again() -> None:
    asked = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return (
            web.Response(status=500, text="No cluster leader")
            if asked < 3
            else web.json_response([])
        )

    async with asking(handle) as nomad:
        assert await nomad.jobs("a") == []
    assert asked == 3


async def test_the_next_address_is_asked_when_nobody_listens_at_one() -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.json_response([])

    async with asking(handle, more="http://127.0.0.1:9") as nomad:
        assert await nomad.jobs("a") == []


@pytest.mark.parametrize(
    ("status", "text", "error", "words"),
    [
        (403, "Permission denied", DriverUnavailable, "NOMAD_TOKEN"),
        (500, "ACL token expired", DriverUnavailable, "NOMAD_TOKEN"),
        (500, "ACL token not found or invalid", DriverUnavailable, "NOMAD_TOKEN"),
        (404, "job not found", NotThere, "does not know it"),
        (500, "DeleteJob failed: job not found", NotThere, "does not know it"),
        (500, "oh", RuntimeFailed, "could not do it"),
        (200, "no json", RuntimeFailed, "no JSON"),
    ],
)
async def test_refusals_are_told_apart(
    status: int, text: str, error: type[Exception], words: str
) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    async with asking(handle) as nomad:
        with pytest.raises(error, match=words):
            await nomad.jobs("a")


@pytest.mark.parametrize("text", ["null", "{}", '"x"', '[1, null, "a"]'])
async def test_lists_that_are_none_are_empty(text: str) -> None:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(text=text)

    async with asking(handle) as nomad:
        assert await nomad.jobs("a") == []
        assert (await nomad.allocations("a")).data == []


async def test_nobody_there_is_told_with_the_remedy() -> None:
    nomad = Nomad(Options(address="http://127.0.0.1:9"))
    try:
        with pytest.raises(DriverUnavailable, match="NOMAD_ADDR"):
            await nomad.jobs("a")
        with pytest.raises(DriverUnavailable, match="NOMAD_ADDR"):
            await nomad.run("1", "sandbox", ("true",))
    finally:
        await nomad.aclose()


async def test_who_breaks_off_is_told() -> None:
    async def handle(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.close()
        await asyncio.sleep(0.1)
        return web.Response()

    async with asking(handle) as nomad:
        with pytest.raises(DriverUnavailable, match="broke off"):
            await nomad.jobs("a")


async def test_both_sides_show_certificates(tmp_path: Path) -> None:
    authority = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    authority.configure_trust(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED
    ours = authority.issue_cert("somebody")
    files = {name: tmp_path / f"{name}.pem" for name in ("authority", "certificate", "key")}
    authority.cert_pem.write_to_path(files["authority"])
    ours.cert_chain_pems[0].write_to_path(files["certificate"])
    ours.private_key_pem.write_to_path(files["key"])
    named = {name: str(path) for name, path in files.items()}

    async def handle(request: web.Request) -> web.Response:
        return web.json_response([])

    async with asking(handle, tls=theirs, **named) as nomad:
        assert await nomad.jobs("a") == []
    async with asking(handle, tls=theirs, authority=named["authority"]) as nomad:
        with pytest.raises(DriverUnavailable):
            await nomad.jobs("a")
        with pytest.raises(DriverUnavailable, match="broke off"):
            await nomad.run("1", "sandbox", ("true",))
    async with asking(handle, tls=theirs) as nomad:
        with pytest.raises(DriverUnavailable, match="NOMAD_CACERT"):
            await nomad.jobs("a")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired; whoever runs it"),
        ({"not_before": datetime(2099, 1, 1, tzinfo=UTC)}, "not valid yet; look at the clocks"),
        ({}, "is for other names"),
    ],
)
async def test_a_certificate_of_nomads_that_is_wrong_is_said(
    tmp_path: Path, made: dict[str, Any], words: str
) -> None:
    authority = trustme.CA()
    theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    if "not_before" in made:
        made = {**made, "not_after": datetime(2100, 1, 1, tzinfo=UTC)}
    name = "127.0.0.1" if made else "elsewhere.example.org"
    authority.issue_cert(name, **made).configure_cert(theirs)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def handle(request: web.Request) -> web.Response:
        raise AssertionError("it is not to be spoken to")

    async with asking(handle, tls=theirs, authority=str(tmp_path / "ca.pem")) as nomad:
        with pytest.raises(DriverUnavailable, match=words):
            await nomad.jobs("a")


@pytest.mark.parametrize(
    ("alert", "words"),
    [
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "name one in NOMAD_CLIENT_CERT"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "has expired: name another"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not know the authority"),
        ("SSLV3_ALERT_BAD_CERTIFICATE", "name another"),
    ],
)
def test_what_an_agent_says_of_a_certificate_has_a_remedy(alert: str, words: str) -> None:
    """As aiohttp wraps what a real agent's alerts become."""
    found = refused("https://a", aiohttp.ClientOSError(1, f"[SSL: {alert}] alert (_ssl.c:2546)"))
    assert found is not None
    assert words in found.message
    assert refused("https://a", aiohttp.ClientOSError(104, "Connection reset by peer")) is None


async def test_an_address_of_the_wrong_scheme_is_said() -> None:
    async def handle(request: web.Request) -> web.Response:
        said = "Client sent an HTTP request to an HTTPS server."
        return web.Response(status=400, text=said)

    async with asking(handle) as nomad:
        with pytest.raises(DriverUnavailable, match="say https://"):
            await nomad.jobs("a")
        secure = Nomad(Options(address=nomad.options.address.replace("http:", "https:")))
        try:
            with pytest.raises(DriverUnavailable, match="does not speak TLS: say http://"):
                await secure.jobs("a")
        finally:
            await secure.aclose()


async def test_an_answer_that_is_no_http_tells_nobody_the_token() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 what ever\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    nomad = Nomad(Options(address=f"http://127.0.0.1:{port}", token="hush-hush"))
    try:
        with pytest.raises(DriverUnavailable, match="broke off") as caught:
            await nomad.jobs("a")
        assert "hush" not in f"{caught.value} {caught.value.detail}"
    finally:
        await nomad.aclose()
        server.close()
