"""A small server that speaks `assay.v1` as it is written down, and breaks it when it is told to.

Programs are played: `echo WORDS`, `cat`, `count BYTES`, `forever`, `size` (prints each size of its
terminal), `deaf` (closes its standard input). What they do is exact, so tests can count bytes.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

WINDOW = 1024 * 1024
TOKEN = "assay_" + "a" * 32


def pattern(count: int) -> bytes:
    return (b"0123456789abcdef" * (count // 16 + 1))[:count]


class Program:
    """One execution, whoever follows it."""

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.output = bytearray()
        self.stdin = bytearray()
        self.acknowledged = 0
        self.outcome: dict[str, Any] | None = None
        self.stdin_closed = argv[0] == "deaf"
        self.forgotten = False
        self.messages: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.connection: web.WebSocketResponse | None = None
        self.started = False
        self.runner_id = ""

    def start(self) -> None:
        if self.started:
            return
        self.started = True
        if self.argv[0] == "echo":
            self.output += " ".join(self.argv[1:]).encode() + b"\n"
            self.exit(0)
        elif self.argv[0] == "count":
            self.output += pattern(int(self.argv[1]))
            self.exit(0)

    def exit(self, code: int) -> None:
        self.end({"kind": "exited", "code": code})

    def end(self, outcome: dict[str, Any]) -> None:
        self.outcome = self.outcome or outcome
        self.changed.set()

    def take(self, offset: int, data: bytes) -> None:
        assert offset <= len(self.stdin), "input is missing"
        new = data[len(self.stdin) - offset :]
        self.stdin += new
        if self.argv[0] == "cat":
            self.output += new
        self.changed.set()

    def obey(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        kind = message["type"]
        if kind == "ack":
            self.acknowledged = max(self.acknowledged, message["offset"])
            self.changed.set()
        elif kind == "end-input" and self.argv[0] == "cat":
            self.exit(0)
        elif kind == "cancel":
            self.end({"kind": "cancelled"})
        elif kind == "signal":
            self.end({"kind": "signaled", "signal": message["signal"]})
        elif kind == "resize" and self.argv[0] == "size":
            self.output += f"{message['rows']}x{message['columns']}\n".encode()
            self.changed.set()
        elif kind == "bye":
            self.forgotten = True


class WireServer:
    """`url` is its address; tests turn its knobs."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}
        self.runners: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.connections: list[dict[str, str]] = []
        self.cut_after = 1 << 62
        """Bytes of output after which a connection is cut, each time."""
        self.tamper: Callable[[bytes], bytes] = lambda frame: frame
        self.answer: web.Response | Callable[[], web.Response] | None = None
        """Instead of the right one, to every request."""
        self.confirms_input = True
        self.silent = False
        self.ends_after: float | None = None
        """Seconds after which programs end by themselves."""
        self.stall_between = (0.0, 0.0)
        """Seconds from the first execution on, between which nothing is answered."""
        self.ran_once: list[str] = []
        """Environments of the programs that had a sandbox of their own."""
        self.runs_for = 0.0
        """Seconds that each of those takes."""
        self.most_in_one_runner = 0
        self.port = 0
        self._first_execution: float | None = None
        self._leased = 0
        self._app_runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 28, middlewares=[self._first])
        app.router.add_routes([
            web.post("/api/v1/runners", self._create),
            web.get("/api/v1/runners", self._all),
            web.delete("/api/v1/runners/{id}", self._delete),
            web.post("/api/v1/runners/{id}/run", self._run),
            web.post("/api/v1/run", self._once),
            web.post("/api/v1/runners/{id}/execute", self._execute),
            web.patch("/api/v1/runners/{id}/files", self._write),
            web.get("/api/v1/runners/{id}/files/raw", self._read),
            web.get("/api/v1/runners/{id}/websocket", self._websocket),
            web.get("/api/v1/version", self._version),
        ])  # fmt: skip
        self._app_runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._app_runner.setup()
        site = web.TCPSite(self._app_runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._app_runner.addresses[0][1]

    async def stop(self, code: int = WSCloseCode.SERVICE_RESTART) -> None:
        """Programs go on, as in sandboxes."""
        for program in self.programs.values():
            if program.connection is not None and not program.connection.closed:
                await program.connection.close(code=code)
        if self._app_runner is not None:
            await self._app_runner.cleanup()

    def cut(self) -> None:
        """Every stream, without a word."""
        for program in self.programs.values():
            if program.connection is not None:
                _cut(program.connection)

    @web.middleware
    async def _first(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.answer is not None:
            await request.read()
            return self.answer() if callable(self.answer) else self.answer
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return problem(401, "unauthenticated", "no token that is known")
        response: web.StreamResponse = await handler(request)
        return response

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["environment"] != "python":
            return problem(404, "unknown_environment", "there is no such environment")
        self._leased += 1
        runner_id = f"r-{self._leased}"
        self.runners[runner_id] = body
        return web.json_response(
            {"runnerId": runner_id, "mappedPorts": [], "generation": 1, "environment": "python"}
        )

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response("1.0")

    async def _all(self, request: web.Request) -> web.Response:
        return web.json_response({"runners": [{"runnerId": name} for name in self.runners]})

    async def _delete(self, request: web.Request) -> web.Response:
        if self.runners.pop(request.match_info["id"], None) is None:
            return web.json_response({"message": "no runner found with this id"}, status=410)
        return web.Response(status=204)

    async def _write(self, request: web.Request) -> web.Response:
        body = await request.json()
        for path in body["delete"]:
            self.files.pop(path, None)
        for file in body["copy"]:
            self.files[file["path"]] = base64.b64decode(file["content"])
        return web.Response(status=204)

    async def _read(self, request: web.Request) -> web.Response:
        content = self.files.get(request.query["path"])
        if content is None:
            return web.json_response({"message": "file not found"}, status=424)
        return web.Response(body=content)

    async def _run(self, request: web.Request) -> web.Response:
        body = await request.json()
        text = f"{' '.join(body['argv'])} {body.get('stdin', '')}"
        return web.json_response({
            "outcome": {"kind": "exited", "code": 0}, "stdout": text, "stderr": "",
            "encoding": "utf-8", "measurements": {"wallNs": {"value": 5, "source": "agent"}},
        })  # fmt: skip

    async def _once(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.ran_once.append(body["environment"])
        await self._stall()
        await asyncio.sleep(self.runs_for)
        timings = {"waitMs": 1.0, "filesMs": 0.0, "runMs": self.runs_for * 1000}
        return web.json_response({
            "outcome": {"kind": "exited", "code": 0}, "stderr": "", "encoding": "utf-8",
            "stdout": " ".join(body["argv"][1:]) + "\n",
            "timings": {**timings, "firstOutputMs": 1.0},
        })  # fmt: skip

    async def _execute(self, request: web.Request) -> web.Response:
        body = await request.json()
        await self._stall()
        name = f"e{len(self.programs)}"
        self.programs[name] = Program(body["argv"])
        return web.json_response({"websocketUrl": "", "executionId": name})

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        program = self.programs.get(request.query["executionID"])
        if program is None or program.forgotten:
            return problem(404, "unknown_execution", "execution id unknown")
        socket = web.WebSocketResponse(protocols=("assay.v1",))
        await socket.prepare(request)
        self.connections.append(dict(request.query))
        if program.connection is not None and not program.connection.closed:
            await program.connection.close(code=4409)
        program.connection = socket
        offset = int(request.query.get("offset", "0"))
        await socket.send_str(json.dumps({
            "type": "start", "executionId": request.query["executionID"],
            "resumed": program.started, "offset": offset, "inputOffset": len(program.stdin),
        }))  # fmt: skip
        program.start()
        if self.ends_after is not None:
            asyncio.get_running_loop().call_later(self.ends_after, program.exit, 0)
        runner_id = request.match_info["id"]
        program.runner_id = runner_id
        running = [
            each
            for each in self.programs.values()
            if each.runner_id == runner_id and each.outcome is None
        ]
        self.most_in_one_runner = max(self.most_in_one_runner, len(running))
        sender = asyncio.ensure_future(self._send(socket, program, offset))
        try:
            async for message in socket:
                if message.type is WSMsgType.BINARY:
                    program.take(int.from_bytes(message.data[1:9]), message.data[9:])
                elif message.type is WSMsgType.TEXT:
                    program.obey(json.loads(message.data))
                if program.forgotten:
                    await socket.close()
        finally:
            sender.cancel()
            await asyncio.wait((sender,))
        return socket

    async def _stall(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._first_execution is None:
            self._first_execution = now
        begins, ends = (self._first_execution + seconds for seconds in self.stall_between)
        if begins <= now < ends:
            await asyncio.sleep(ends - now)

    async def _send(self, socket: web.WebSocketResponse, program: Program, offset: int) -> None:
        begun, confirmed = offset, -1
        while not self.silent:
            program.changed.clear()
            if self.confirms_input and confirmed != len(program.stdin):
                confirmed = len(program.stdin)
                message = {"type": "input", "offset": confirmed, "closed": program.stdin_closed}
                await socket.send_str(json.dumps(message))
            end = min(len(program.output), program.acknowledged + WINDOW)
            while offset < end:
                data = bytes(program.output[offset : min(end, offset + 65536)])
                await socket.send_bytes(self.tamper(b"\1" + offset.to_bytes(8) + data))
                offset += len(data)
                if offset - begun >= self.cut_after:
                    await asyncio.sleep(0.02)  # for what was sent to arrive, or not all of it
                    _cut(socket)
                    return
            if program.outcome is not None and offset == len(program.output):
                message = {"type": "end", "outcome": program.outcome, "offset": offset}
                await socket.send_str(json.dumps(message))
                return
            await program.changed.wait()


def _cut(socket: web.WebSocketResponse) -> None:
    transport = socket._req.transport if socket._req is not None else None  # type: ignore[union-attr]
    if transport is not None:
        transport.abort()


def problem(status: int, code: str, detail: str, **headers: str) -> web.Response:
    body = {"type": f"urn:assay:{code}", "title": code, "detail": detail, "code": code}
    return web.json_response(
        body, status=status, content_type="application/problem+json", headers=headers
    )
