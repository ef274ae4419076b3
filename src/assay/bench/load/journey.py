"""One execution as its client has it: asked for, followed whatever breaks, checked."""

from __future__ import annotations

import asyncio
import base64
import binascii
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from assay.bench.load.connection import Frame, Http, Lost, WebSocket
from assay.bench.load.plan import Program
from assay_client.errors import ProtocolViolation
from assay_client.wire import ExecutionStream

_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 1.0
_PASSING: Final = frozenset({429, 502, 503, 504})
_NORMAL: Final = 1000

encode: Final = msgspec.json.Encoder().encode


class Failed(Exception):
    """What was asked for did not come; the text says what came instead, without any number."""


class Counts:
    """What had to be done again."""

    def __init__(self) -> None:
        self.resumed = self.repeated = self.unanswered = 0


class Channel:
    """A server as one token has it, and how patient its clients are."""

    def __init__(self, http: Http, *, patience_seconds: float = 0.0) -> None:
        self.http = http
        self.patience_seconds = patience_seconds
        self.counts = Counts()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        what: str,
        accepted: tuple[int, ...] = (200, 204),
        once: bool = False,
    ) -> bytes:
        """A request; raises Failed. `once`: an answer that was lost may have been a yes."""
        data = None if body is None else encode(body)
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self.patience_seconds, _FIRST_PAUSE
        while True:
            try:
                status, answer = await self.http.request(method, path, data)
                if status in accepted:
                    return answer
                problem, passing = f"{what}: {_told(status, answer)}", status in _PASSING
            except Lost as error:
                problem, passing = f"{what}: {_reason(error)}", True
                if once and "cannot connect" not in problem:
                    self.counts.unanswered += 1
            if not passing or loop.time() + pause > deadline:
                raise Failed(problem)
            self.counts.repeated += 1
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 2, _LONGEST_PAUSE)


def _told(status: int, answer: bytes) -> str:
    """The status and, if there is one, the code: texts with numbers in them can't be counted."""
    try:
        said = msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.MsgspecError:
        return str(status)
    return " ".join(map(str, filter(None, (status, said.get("code") or said.get("errorCode")))))


def _reason(error: Lost) -> str:
    return str(error).partition(":")[0]


class _Stored(msgspec.Struct, rename="camel"):
    execution_id: str


_decode_stored: Final = msgspec.json.Decoder(_Stored).decode


class Execution:
    """One program in one runner."""

    def __init__(
        self, channel: Channel, runner_id: str, on_first: Callable[[], None] | None = None
    ) -> None:
        self._channel = channel
        self._runner_id = runner_id
        self._on_first = on_first
        self.stream = ExecutionStream()
        self.output = bytearray()
        self.socket: WebSocket | None = None
        self._news: asyncio.Future[None] | None = None
        self._shown: asyncio.Future[None] | None = None
        self._close_code = 0
        self._resuming = False
        self._early: tuple[Frame, ...] = ()
        self._violation: ProtocolViolation | None = None

    async def run(self, program: Program, mark: str, argv: tuple[str, ...] | None = None) -> None:
        """Run it to its end. Raises Failed when that is not as it must be."""
        await self.start(program, mark, argv)
        await self.follow()
        self.check(None if argv else program.expected.replace("{mark}", mark))

    async def start(
        self,
        program: Program,
        mark: str,
        argv: tuple[str, ...] | None = None,
        terminal: dict[str, int] | None = None,
    ) -> None:
        """Have it stored: it runs once it is followed."""
        body = {
            "argv": [text.replace("{mark}", mark) for text in argv or program.argv],
            "stdin": program.stdin,
            "limits": {"wallSeconds": program.wall_seconds},
            "terminal": terminal,
            "resumable": True,
        }
        path = f"/runners/{self._runner_id}/execute"
        answer = await self._channel.call("POST", path, body, what="execute")
        try:
            execution_id = _decode_stored(answer).execution_id
        except msgspec.MsgspecError as error:
            raise Failed("execute: an answer without executionId") from error
        self._path = f"/runners/{self._runner_id}/websocket?executionID={execution_id}"

    async def follow(self) -> None:
        """Follow it to its end, over as many connections as patience allows."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._channel.patience_seconds, _FIRST_PAUSE
        while True:
            problem = await self._once()
            if self.stream.end is not None:
                return
            if self.stream.started:
                deadline, pause = loop.time() + self._channel.patience_seconds, _FIRST_PAUSE
            if not problem or loop.time() + pause > deadline:
                raise Failed(problem or "the stream was closed before its end")
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(pause * 2, _LONGEST_PAUSE)

    def check(self, expected: str | None) -> None:
        """Raises Failed unless it ended well, with exactly this output."""
        end = self.stream.end
        assert end is not None
        if not end.success:
            raise Failed(f"ended with {end.outcome}")
        if expected is not None and self.output != expected.encode():
            raise Failed("its output is not what it wrote")

    async def _once(self) -> str:
        """One connection; returns why it ended before the end, if another one may do better."""
        self._news = asyncio.get_running_loop().create_future()
        offset = self.stream.offset_to_ask_for
        path = self._path if offset is None else f"{self._path}&offset={offset}"
        try:
            connected = await self._channel.http.websocket(path, self._on_frame, self._on_close)
        except Lost as error:
            return f"stream: {_reason(error)}"
        if not isinstance(connected, WebSocket):
            problem = f"stream: {_told(*connected)}"
            if connected[0] in _PASSING:
                return problem
            raise Failed(problem)
        self._resuming = offset is not None
        self.stream.begin()
        self.socket = connected
        try:
            self._take_early()
            await self._news
        finally:
            self.socket = None
            if self.stream.end is None:
                connected.close()
            else:
                connected.linger()
        if self._violation is not None:
            raise Failed(f"stream: {self._violation.message.partition(':')[0]}")
        if self.stream.end is None and self._close_code not in (1001, 1006, 1012):
            raise Failed(f"stream: closed with {self._close_code} before its end")
        return f"stream: closed with {self._close_code}"

    def _take_early(self) -> None:
        """Frames that came in one piece with the answer to the upgrade."""
        frames, self._early = self._early, ()
        for frame in frames:
            self._on_frame(frame)

    def _on_frame(self, frame: Frame) -> None:
        if self.socket is None:
            self._early = (*self._early, frame)
            return
        try:
            chunk = self.stream.receive(frame)
        except ProtocolViolation as error:
            self._violation = error
            self._settle()
            return
        if self.stream.started and self._resuming:
            self._resuming = False
            self._channel.counts.resumed += 1
        if chunk is not None:
            if not self.output and self._on_first is not None:
                self._on_first()
            self.output += chunk.data
            if self._shown is not None and not self._shown.done():
                self._shown.set_result(None)
            self.stream.consumed = self.stream.received
        self.send()
        if self.stream.end is not None:
            self._settle()

    def send(self) -> None:
        """Send what is to be sent."""
        if self.socket is not None:
            for frame in self.stream.outgoing():
                self.socket.send(frame)

    async def more_output(self) -> None:
        """Wait for some, at most a second."""
        self._shown = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._shown,), timeout=1)

    def _on_close(self, code: int) -> None:
        self._close_code = code
        self._settle()

    def _settle(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


# --- a program in one request -------------------------------------------------------------------


class _Outcome(msgspec.Struct):
    kind: str
    code: int | None = None


class Took(msgspec.Struct, rename="camel"):
    """Where the server says that the time of a run went: milliseconds."""

    files_ms: float = 0.0
    compile_ms: float = 0.0
    run_ms: float = 0.0
    first_output_ms: float | None = None
    """Of `run_ms`, until the first byte of output."""


class _Ran(msgspec.Struct):
    outcome: _Outcome
    stdout: str = ""
    encoding: str = "utf-8"
    timings: Took = msgspec.field(default_factory=Took)

    def output(self) -> bytes:
        try:
            return (
                base64.b64decode(self.stdout) if self.encoding == "base64" else self.stdout.encode()
            )
        except binascii.Error:
            return b""


_decode_ran: Final = msgspec.json.Decoder(_Ran).decode


def ran_well(answer: bytes, program: Program, mark: str) -> Took:
    """Look whether a program that ran in one request did what it must. Raises Failed."""
    try:
        ran = _decode_ran(answer)
    except msgspec.MsgspecError as error:
        raise Failed("run: an answer without outcome") from error
    if ran.outcome.kind != "exited" or ran.outcome.code != 0:
        raise Failed(f"ended with {ran.outcome.kind}({ran.outcome.code})")
    if ran.output() != program.expected.replace("{mark}", mark).encode():
        raise Failed("its output is not what it wrote")
    return ran.timings
