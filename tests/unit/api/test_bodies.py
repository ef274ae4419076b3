"""What is read of a request: as much JSON as any client needs, and no more values than that."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from assay.api.endpoint import read_body
from assay.domain.errors import InvalidInput

MOST = 64 * 1024 * 1024


def request_of(body: bytes) -> web.Request:
    async def pieces() -> AsyncIterator[bytes]:
        yield body

    content = SimpleNamespace(iter_any=pieces)
    return cast("web.Request", SimpleNamespace(headers={}, content_length=None, content=content))


@pytest.mark.parametrize(
    "body",
    [
        b'{"files":[' + b"{}," * 6_000_000 + b"{}]}",
        b'{"run_spec":[' + b"[]," * 6_000_000 + b"[]]}",
        b"[" + b'"",' * 6_000_000 + b'""]',
        b'["' + b'\\"",' + b'"a,b\\\\",' * 1_000_000 + b'""]',
    ],
    ids=["objects", "lists", "texts", "texts with commas"],
)
async def test_far_too_many_values_are_refused_before_they_are_made(body: bytes) -> None:
    started = time.process_time()
    with pytest.raises(InvalidInput, match="200,000 values"):
        await read_body(request_of(body), MOST)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"stdin":"' + b"1,2,3," * 3_000_000 + b'"}',
        b'{"stdin":"' + b'\\",\\n,' * 1_000_000 + b'"}',
        b'{"copy":[' + b'{"path":"a","content":"QUJD"},' * 90_000 + b"{}]}",
        b'{"content":"' + b"QUJD" * 4_000_000 + b'"}',
    ],
    ids=["a table", "escapes", "many files", "a large file"],
)
async def test_long_texts_and_many_files_are_read(body: bytes) -> None:
    assert await read_body(request_of(body), MOST) == body
