"""Exchanges with a real Nomad: recorded by this command, replayed by tests where there is none.

    exchanges.py      record them anew, into exchanges.json beside this file; as root

What the driver asks is compared with what it asked then, word by word, and it hears what a real
Nomad answered. So names that are random otherwise are the same each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
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
from assay.domain.errors import CapacityExceeded
from assay.driver.port import SandboxSpec, Secret
from assay.drivers.nomad import NomadDriver, Options

FILE = Path(__file__).with_name("exchanges.json")
_KEPT = ("X-Nomad-Index",)
NOWHERE = {"${attr.kernel.name}": "plan9"}


# --- what is done ---------------------------------------------------------------------------------


@contextlib.contextmanager
def same_names() -> Iterator[None]:
    """Ids that are the same each time."""
    numbers = itertools.count(1)
    with patch("assay.drivers.nomad.job.new_id", lambda: "a" + f"{next(numbers):026d}"[::-1]):
        yield


async def scenario(options: Options, image: str, registry: str) -> None:
    """A sandbox's life, and one that there is no room for."""
    with tempfile.TemporaryDirectory() as folder, same_names():
        spec = SandboxSpec(root=empty_root(Path(folder, "root")), secret=Secret(b"s" * 32))
        driver = made(options, Path(folder), image, registry)
        other = made(options, Path(folder), image, registry)
        nowhere = made(replace(options, constraints=NOWHERE), Path(folder), image, registry)
        try:
            await live(driver, other, spec)
            with contextlib.suppress(CapacityExceeded):
                await nowhere.create(spec)
                raise AssertionError("there is room on Plan 9")
            assert await driver.list() == []
        finally:
            for each in (driver, other, nowhere):
                await each.aclose()


def made(options: Options, folder: Path, image: str, registry: str) -> NomadDriver:
    state = folder / "state"
    (state / "nomad").mkdir(parents=True, exist_ok=True)
    (state / "nomad/identity").write_text("recorded")
    driver = NomadDriver(
        options=replace(options, registry=registry), state=state, agent=program("agent")
    )
    if image:
        driver.image_of = lambda spec: image  # type: ignore[method-assign]
    return driver


# --- recording ------------------------------------------------------------------------------------


class Recorder:
    """Stands between the driver and Nomad, and notes what both say."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.exchanges: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        noted: dict[str, Any] = {
            "method": request.method, "path": request.path, "query": dict(request.query),
        }  # fmt: skip
        self.exchanges.append(noted)
        if request.headers.get("Upgrade"):
            return await self._join(request, noted)
        body = await request.read()
        noted["body"] = json.loads(body) if body else None
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, f"{self._address}{request.path_qs}", data=body or None
            ) as answer,
        ):
            text = await answer.text()
            noted |= {"status": answer.status, "answer": _data(text)}
            noted["headers"] = {
                name: answer.headers[name] for name in _KEPT if name in answer.headers
            }
            return web.Response(status=answer.status, text=text, headers=noted["headers"])

    async def _join(self, request: web.Request, noted: dict[str, Any]) -> web.WebSocketResponse:
        ours = web.WebSocketResponse()
        await ours.prepare(request)
        messages = noted["messages"] = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self._address}{request.path_qs}") as theirs,
        ):

            async def carry(who: str, source: Any, target: Any) -> None:
                async for message in source:
                    if message.type is WSMsgType.TEXT:
                        messages.append([who, json.loads(message.data)])
                        await target.send_str(message.data)
                await target.close()

            await asyncio.gather(carry("driver", ours, theirs), carry("nomad", theirs, ours))
        return ours


# --- replaying ------------------------------------------------------------------------------------


class Replayer:
    """Answers as Nomad did, as long as it is asked the same."""

    def __init__(self, exchanges: list[dict[str, Any]]) -> None:
        self._left = list(exchanges)
        self.wrong: list[str] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        expected = self._left.pop(0) if self._left else {}
        body = await request.read()
        asked = {
            "method": request.method, "path": request.path, "query": dict(request.query),
            **({} if "messages" in expected else {"body": json.loads(body) if body else None}),
        }  # fmt: skip
        self.wrong += [
            f"{key}: {value!r} instead of {expected.get(key)!r}"
            for key, value in asked.items()
            if expected.get(key) != value
        ]
        if self.wrong:
            return web.Response(status=418, text=self.wrong[0])
        if "messages" in expected:
            return await self._talk(request, expected["messages"])
        text = expected["answer"] if isinstance(expected["answer"], str) else None
        return web.Response(
            status=expected["status"], headers=expected["headers"],
            text=json.dumps(expected["answer"]) if text is None else text,
        )  # fmt: skip

    async def _talk(self, request: web.Request, messages: list[Any]) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for who, message in messages:
            if who == "nomad":
                await socket.send_str(json.dumps(message))
            elif (said := json.loads((await socket.receive()).data)) != message:
                self.wrong.append(f"{said} instead of {message}")
        await socket.close()
        return socket

    @property
    def left(self) -> int:
        """How much was not asked for."""
        return len(self._left)


def _data(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextlib.asynccontextmanager
async def serving(who: Recorder | Replayer) -> AsyncIterator[Options]:
    """Options of a driver that is to ask there."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", who.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        yield Options(address=str(server.make_url("")).rstrip("/"))


async def _record(address: str, registry: str) -> None:
    recorder = Recorder(address)
    async with serving(recorder) as options:
        await scenario(options, "", registry)
    (image,) = {
        exchange["body"]["Job"]["TaskGroups"][0]["Tasks"][0]["Config"]["image"]
        for exchange in recorder.exchanges
        if exchange["path"] == "/v1/jobs" and exchange["method"] == "POST"
    }
    recorded = {"image": image, "exchanges": recorder.exchanges}
    FILE.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    print(f"{len(recorder.exchanges)} exchanges in {FILE.name}")


def main() -> int:
    from cluster import lacking, running

    if os.geteuid() != 0 or lacking():
        print(lacking() or "this needs root", file=sys.stderr)
        return 2
    with running() as cluster:
        asyncio.run(_record(cluster.address, cluster.registry))
    return 0


if __name__ == "__main__":
    sys.exit(main())
