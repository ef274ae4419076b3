"""A client that does what CodeOcean does, over real HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

ENVIRONMENT = 21
POSEIDONS = {
    "image": "host",
    "prewarmingPoolSize": 2,
    "cpuLimit": 20,
    "memoryLimit": 100,
    "networkAccess": False,
    "exposedPorts": [],
}


@dataclass
class Conversation:
    """Everything that came over one WebSocket."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    close_code: int | None = None
    seconds: float = 0.0

    def _joined(self, stream: str) -> str:
        return "".join(each["data"] for each in self.messages if each["type"] == stream)

    @property
    def stdout(self) -> str:
        return self._joined("stdout")

    @property
    def stderr(self) -> str:
        return self._joined("stderr")

    @property
    def last(self) -> dict[str, Any]:
        return self.messages[-1]


class PoseidonClient:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def provide(self, environment: int = ENVIRONMENT, **more: int) -> str:
        """Lease a runner."""
        body = {"executionEnvironmentId": environment, **more}
        async with self.session.post("runners", json=body) as answer:
            assert answer.status == 200, await answer.text()
            runner_id = (await answer.json())["runnerId"]
            assert isinstance(runner_id, str)
            return runner_id

    async def delete(self, runner: str) -> None:
        async with self.session.delete(f"runners/{runner}") as answer:
            assert answer.status == 204

    async def put_files(
        self, runner: str, copy: dict[str, bytes], delete: Sequence[str] = ()
    ) -> tuple[int, str]:
        """PATCH files, and return status and body."""
        files = [
            {"path": path, "content": base64.b64encode(content).decode()}
            for path, content in copy.items()
        ]
        body = io.BytesIO(json.dumps({"copy": files, "delete": list(delete)}).encode())
        async with self.session.patch(f"runners/{runner}/files", data=body) as answer:
            return answer.status, await answer.text()

    async def files(self, runner: str, **query: str) -> tuple[int, Any]:
        async with self.session.get(f"runners/{runner}/files", params=query) as answer:
            return answer.status, await answer.json()

    async def raw(self, runner: str, path: str, **query: str) -> tuple[int, Any, bytes]:
        query = {"path": path, **query}
        async with self.session.get(f"runners/{runner}/files/raw", params=query) as answer:
            return answer.status, answer.headers.copy(), await answer.read()

    async def url(self, runner: str, command: str, **more: Any) -> str:
        """Store an execution, and return where to connect to."""
        body = {"command": command, **more}
        async with self.session.post(f"runners/{runner}/execute", json=body) as answer:
            assert answer.status == 200, await answer.text()
            url = (await answer.json())["websocketUrl"]
            assert isinstance(url, str)
            return url

    async def execute(
        self, runner: str, command: str, *, stdin: str = "", **more: Any
    ) -> Conversation:
        """Execute and collect everything up to the Close."""
        url = await self.url(runner, command, **more)
        started = asyncio.get_running_loop().time()
        async with self.session.ws_connect(url) as socket:
            if stdin:
                await socket.send_str(stdin)
            conversation = await collect(socket)
        conversation.seconds = asyncio.get_running_loop().time() - started
        return conversation


async def collect(socket: aiohttp.ClientWebSocketResponse) -> Conversation:
    conversation = Conversation()
    async for message in socket:
        assert message.type is aiohttp.WSMsgType.TEXT
        conversation.messages.append(json.loads(message.data))
    conversation.close_code = socket.close_code
    return conversation
