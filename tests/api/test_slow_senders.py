"""Connections whose headers come slowly, or never."""

from __future__ import annotations

import asyncio

import pytest
from api_server import served, services

from assay.api.services import ApiSettings

GOOD = b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("before", [b"", GOOD], ids=["the first request", "a later one"])
async def test_headers_that_never_end_do_not_hold_a_connection(before: bytes) -> None:
    async with served(services(settings=ApiSettings(keepalive_seconds=0.3))) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        if before:
            writer.write(before)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 ")
        writer.write(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(20):
            reading = asyncio.ensure_future(reader.read())
            while not reading.done():
                writer.write(b"X-More: 1\r\n")
                await asyncio.wait((reading,), timeout=0.05)
        writer.close()
