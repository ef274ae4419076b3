"""Exchanges with a real Kubernetes: recorded by this command, replayed where there is none.

    kube_exchanges.py      record them anew, into exchanges.json beside this file; as root

What the driver asks for is compared with what it asked for then, and it hears what a real server
answered. How often it looks at a pod depends on the clock, so a look hears what was answered last
between the same two changes. Of what was answered, only `managedFields` is left out.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "orchestrated"))

from orchestrated_life import empty_root, live

from assay.agent.native import program
from assay.domain.errors import CapacityExceeded, DriverUnavailable
from assay.driver.port import SandboxSpec, Secret
from assay.drivers.kubernetes import KubernetesDriver, Options

FILE = Path(__file__).with_name("exchanges.json")
NOBODY = "nobody"
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_TIMELY = ("resourceVersion",)
"""Of a question, what depends on when it is asked."""


# --- what is done ---------------------------------------------------------------------------------


@contextlib.contextmanager
def same_names() -> Iterator[None]:
    """Ids that are the same each time."""
    numbers = itertools.count(1)
    with patch("assay.drivers.kubernetes.driver.new_id", lambda: f"a{next(numbers):026d}"):
        yield


async def scenario(address: str, image: str, registry: str) -> None:
    """A sandbox's life, one that there is no room for, and one that is not allowed."""
    with tempfile.TemporaryDirectory() as name, same_names():
        folder = Path(name)
        spec = SandboxSpec(root=empty_root(folder / "root"), secret=Secret(b"s" * 32))
        options = options_for(address, folder, registry)
        driver, other = (made(options, folder, image) for _ in range(2))
        nowhere = made(replace(options, node_selector={"planet": "mars"}), folder, image)
        nobody = made(options_for(f"{address}/{NOBODY}", folder, registry), folder, image)
        try:
            await live(driver, other, spec)
            with contextlib.suppress(CapacityExceeded):
                await nowhere.create(spec)
                raise AssertionError("there is room on Mars")
            with contextlib.suppress(DriverUnavailable):
                await nobody.list()
                raise AssertionError("nobody may look")
            problem = (await nobody.probe()).problems[0].summary
            assert "may not create pods, get pods" in problem, problem
            assert await driver.list() == []
        finally:
            for each in (driver, other, nowhere, nobody):
                await each.aclose()


def options_for(address: str, folder: Path, registry: str) -> Options:
    """Of a driver that asks there."""
    file = folder / f"{NOBODY if address.endswith(NOBODY) else 'own'}.kubeconfig"
    file.write_text(json.dumps({
        "current-context": "own", "users": [],
        "clusters": [{"name": "own", "cluster": {"server": address}}],
        "contexts": [{"name": "own", "context": {"cluster": "own"}}],
    }))  # fmt: skip
    return Options(kubeconfig=str(file), namespace="default", registry=registry)


def made(options: Options, folder: Path, image: str) -> KubernetesDriver:
    state = folder / "state"
    (state / "kubernetes").mkdir(parents=True, exist_ok=True)
    (state / "kubernetes/identity").write_text("recorded")
    driver = KubernetesDriver(options=options, state=state, agent=program("agent"))
    if image:
        driver.image_of = lambda spec: image  # type: ignore[method-assign]
    return driver


# --- recording ------------------------------------------------------------------------------------


class Recorder:
    """Stands between the driver and Kubernetes, and notes what both say."""

    def __init__(self, address: str, contexts: dict[str, ssl.SSLContext]) -> None:
        self._address = address
        self._contexts = contexts
        self.exchanges: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        who, path = _split(request.path_qs)
        noted = {**await _asked(request), "answered": []}
        self.exchanges.append(noted)
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._contexts[who]))
        async with session:
            if request.headers.get("Upgrade"):
                return await self._join(session, request, path, noted)
            headers = {"Accept": request.headers["Accept"], "Content-Type": "application/json"}
            async with session.request(
                request.method, f"{self._address}{path}", data=await request.read() or None,
                headers=headers,
            ) as answer:  # fmt: skip
                return await self._pass_on(request, answer, noted)

    async def _pass_on(
        self, request: web.Request, answer: aiohttp.ClientResponse, noted: dict[str, Any]
    ) -> web.StreamResponse:
        noted["status"] = answer.status
        response = web.StreamResponse(status=answer.status)
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            if "watch" in request.query:
                while line := await answer.content.readline():
                    noted["answered"].append(_without_noise(json.loads(line)))
                    await response.write(line)
            else:
                text = await answer.read()
                noted["answered"].append(_without_noise(json.loads(text)))
                await response.write(text)
        return response

    async def _join(
        self, session: aiohttp.ClientSession, request: web.Request, path: str, noted: dict[str, Any]
    ) -> web.StreamResponse:
        try:
            theirs = await session.ws_connect(f"{self._address}{path}", protocols=_PROTOCOLS)
        except aiohttp.WSServerHandshakeError as error:
            noted["status"] = error.status
            return web.Response(status=error.status)
        noted |= {"status": 101, "protocol": theirs.protocol}
        ours = web.WebSocketResponse(protocols=_PROTOCOLS)
        await ours.prepare(request)
        said = noted["answered"]
        await asyncio.gather(
            _carry(theirs, ours, "kubernetes", said), _carry(ours, theirs, "driver", said)
        )
        return ours


async def _carry(source: Any, target: Any, who: str, said: list[Any]) -> None:
    async for message in source:
        if message.type is WSMsgType.BINARY and len(message.data) > 1:
            said.append([who, base64.b64encode(message.data).decode()])
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            await target.send_bytes(message.data)
    await target.close()


def _split(path: str) -> tuple[str, str]:
    prefix = f"/{NOBODY}"
    return (NOBODY, path.removeprefix(prefix)) if path.startswith(f"{prefix}/") else ("", path)


async def _asked(request: web.Request) -> dict[str, Any]:
    body = b"" if request.headers.get("Upgrade") else await request.read()
    query = [[key, value] for key, value in request.query.items() if key not in _TIMELY]
    return {
        "method": request.method, "path": request.path, "query": query,
        "body": json.loads(body) if body else None,
        "upgrade": bool(request.headers.get("Upgrade")),
    }  # fmt: skip


def _without_noise(said: Any) -> Any:
    if isinstance(said, dict):
        return {key: _without_noise(each) for key, each in said.items() if key != "managedFields"}
    return [_without_noise(each) for each in said] if isinstance(said, list) else said


# --- replaying ------------------------------------------------------------------------------------


class Replayer:
    """Answers as Kubernetes did, and notes what was not asked for then."""

    def __init__(self, exchanges: list[dict[str, Any]]) -> None:
        self._left = list(exchanges)
        self._looks: dict[str, dict[str, Any]] = {}
        self.wrong: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        asked = await _asked(request)
        found = self._change(asked) if _changes(asked) else self._look(asked)
        if found is None:
            self.wrong.append(json.dumps(asked, sort_keys=True))
            return web.Response(status=418, text=f"this was not asked for: {asked}")
        if found["status"] == 101:
            return await self._talk(request, found)
        response = web.StreamResponse(status=found["status"])
        await response.prepare(request)
        for line in found["answered"]:
            await response.write(json.dumps(line).encode() + b"\n")
        if ["watch", "true"] in asked["query"]:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
        return response

    def _change(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """The next one of those, with all looks before it."""
        for number, each in enumerate(self._left):
            if _changes(each) and _is(each, asked):
                for look in self._left[:number]:
                    if not _changes(look):
                        self._looks[_key(look)] = look
                before = [each for each in self._left[:number] if _changes(each)]
                self._left = before + self._left[number + 1 :]
                return each
        return None

    def _look(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        for number, each in enumerate(self._left):
            if _changes(each):
                break
            if _is(each, asked):
                self._looks[_key(each)] = each
                del self._left[number]
                return each
        later = next((each for each in self._left if _is(each, asked)), None)
        return self._looks.get(_key(asked), later)

    async def _talk(self, request: web.Request, found: dict[str, Any]) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(protocols=(found["protocol"],))
        await socket.prepare(request)
        for who, text in found["answered"]:
            data = base64.b64decode(text)
            if who == "kubernetes":
                await socket.send_bytes(data)
            elif (said := await _next_word(socket)) != data:
                self.wrong.append(f"{said!r} instead of {data!r}")
        await socket.close()
        return socket

    @property
    def left(self) -> list[str]:
        """What was not asked for again, of all that changes something."""
        return [_key(each) for each in self._left if _changes(each)]


async def _next_word(socket: web.WebSocketResponse) -> bytes | None:
    """What is said next, but for signs of life."""
    while isinstance(data := (await socket.receive()).data, bytes) and len(data) == 1:
        pass
    return data if isinstance(data, bytes) else None


def _changes(exchange: dict[str, Any]) -> bool:
    return exchange["method"] != "GET" or exchange["upgrade"]


def _key(exchange: dict[str, Any]) -> str:
    parts = (exchange[name] for name in ("method", "path", "query", "body", "upgrade"))
    return json.dumps(list(parts), sort_keys=True)


def _is(recorded: dict[str, Any], asked: dict[str, Any]) -> bool:
    return _key(recorded) == _key(asked)


@contextlib.asynccontextmanager
async def serving(who: Recorder | Replayer) -> AsyncIterator[str]:
    """The address to ask at."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", who.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("")).rstrip("/")


async def _record(address: str, registry: str, contexts: dict[str, ssl.SSLContext]) -> None:
    recorder = Recorder(address, contexts)
    async with serving(recorder) as here:
        await scenario(here, "", registry)
    images = {
        exchange["body"]["spec"]["containers"][0]["image"]
        for exchange in recorder.exchanges
        if exchange["method"] == "POST" and exchange["path"].endswith("/pods")
    }
    (image,) = images
    recorded = {"image": image, "exchanges": recorder.exchanges}
    FILE.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    print(f"{len(recorder.exchanges)} exchanges in {FILE.name}")


def main() -> int:
    from kube_cluster import lacking, running

    if os.geteuid() != 0 or lacking():
        print(lacking() or "this needs root", file=sys.stderr)
        return 2
    with running() as cluster:
        contexts = {"": cluster.context("admin"), NOBODY: cluster.context(NOBODY)}
        address = f"https://127.0.0.1:{cluster.places.api}"
        asyncio.run(_record(address, cluster.registry, contexts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
