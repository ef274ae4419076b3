"""A whole server behind TLS, and behind a proxy: URLs that work, messages as the schema says."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
import trustme
from whole_server import settings_in, whole_server

from assay.api.system import document

SECRET = "sesame-open-yourself"
RUNNERS = "/api/v1/runners"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ssl.SSLContext]]:
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o700)
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    made.cert_chain_pems[0].write_to_path(chain)
    made.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    settings = settings_in(
        folder, token=SECRET, tls_certificate=Path(chain), tls_key=Path(key),
        trusted_proxies=("127.0.0.1",),
    )  # fmt: skip
    with whole_server(settings) as url:
        yield url, context


def validator(side: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(document("stream.schema.json"))
    return jsonschema.Draft202012Validator({**schema, "anyOf": [{"$ref": f"#/$defs/{side}"}]})


async def follow(http: aiohttp.ClientSession, url: str, protocol: str, side: str) -> list[Any]:
    """Follow an execution to its end; every message in text is one of the schema's."""
    found = []
    async with http.ws_connect(url, protocols=(protocol,) if protocol else ()) as socket:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                found.append(message.json())
                validator(side).validate(found[-1])
                if found[-1]["type"] == "start" and protocol:
                    await socket.send_str("no message")
                if found[-1]["type"] == "end":
                    await socket.send_str('{"type":"bye"}')
    assert socket.close_code == 1000
    return found


@pytest.mark.parametrize(
    ("protocol", "side", "types"),
    [
        ("", "poseidon.server", ["start", "stdout", "exit"]),
        ("assay.v1", "assay.v1.server", ["end", "error", "start"]),
    ],
)
async def test_every_message_over_tls_is_one_of_the_schema(
    served: tuple[str, ssl.SSLContext], protocol: str, side: str, types: list[str]
) -> None:
    base, context = served
    headers = {"Poseidon-Token": SECRET}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(base, headers=headers, connector=connector) as http:
        async with http.post(RUNNERS, json={"environment": "bash"}) as answer:
            runner = (await answer.json())["runnerId"]
        asked = {"argv": ["/usr/bin/probe", "echo", "hello"], "stdin": True}
        path = f"{RUNNERS}/{runner}/execute"
        async with http.post(path, json=asked) as answer:
            url = (await answer.json())["websocketUrl"]
        assert url.startswith(base.replace("https://", "wss://"))
        found = await follow(http, url, protocol, side)
        assert set(types) <= {each["type"] for each in found}
        told = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "assay.example"}
        async with http.post(path, json=asked, headers=told) as answer:
            url = (await answer.json())["websocketUrl"]
        assert url.startswith("wss://assay.example/api/v1/")
        async with http.delete(f"{RUNNERS}/{runner}"):
            pass


async def test_the_websocket_needs_the_token_too(served: tuple[str, ssl.SSLContext]) -> None:
    base, context = served
    async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=context)) as http:
        for path in (f"{RUNNERS}/r-1/websocket?executionID=1", f"{RUNNERS}/r-1/ports/80/"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(path)
            assert refused.value.status == 401
