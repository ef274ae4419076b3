"""What run_student and the host say to one another; agent/grading_student.c has the other end.

A frame is a letter, 4 bytes of length (lowest byte first), and so many bytes, 65,536 at most.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from assay.agent.execution import Execution
from assay.domain.errors import ConnectionLost, InvalidInput, ProtocolViolation

MOST: Final = 65536
_HEADER: Final = 5
_FIELDS: Final = 8
_SECONDS_MOST: Final = 10**6


class Frame(NamedTuple):
    """One of them."""

    type: str
    payload: bytes


def frame(type_: str, payload: bytes) -> bytes:
    """Its bytes."""
    return type_.encode() + len(payload).to_bytes(4, "little") + payload


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What run_student was asked for; 0 stands for what the task has itself."""

    container: str
    time_seconds: int
    hard_seconds: int
    memory_mb: int
    shares_network: bool
    folder: str
    teardown: tuple[str, ...]
    argv: tuple[str, ...]


def to_request(payload: bytes) -> Request:
    """Read one. Raises InvalidInput for what makes no sense."""
    fields = []
    at = 0
    while at < len(payload):
        begin = at + 4
        at = begin + int.from_bytes(payload[at:begin], "little")
        if at > len(payload):
            raise InvalidInput("a request that is cut short")
        fields.append(payload[begin:at].decode(errors="surrogateescape"))
    if len(fields) != _FIELDS:
        raise InvalidInput(f"a request of {len(fields)} fields")
    container, time, hard, memory, network, folder, teardown, line = fields
    return Request(
        container=container,
        time_seconds=_number(time),
        hard_seconds=_number(hard),
        memory_mb=_number(memory),
        shares_network=network == "share",
        folder=folder,
        teardown=_words(teardown),
        argv=_words(line) or ("echo", "no command was given"),
    )


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise InvalidInput(f"{text[:20]!r} is no limit")
    return min(int(text), _SECONDS_MOST)


def _words(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise InvalidInput(f"the command cannot be taken apart into words: {error}") from error


class Wire:
    """Frames over the standard streams of a relay."""

    def __init__(self, relay: Execution) -> None:
        self._relay = relay
        self._sending = asyncio.Lock()

    async def send(self, type_: str, payload: bytes) -> None:
        """Send one whole, or as many as the content needs, to who still reads them."""
        async with self._sending:
            for at in range(0, max(1, len(payload)), MOST):
                await self._relay.write(frame(type_, payload[at : at + MOST]))

    async def frames(self) -> AsyncIterator[Frame]:
        """What comes, until the client or the relay is gone. Raises ProtocolViolation."""
        have = bytearray()
        try:
            async for chunk in self._relay.output():
                have += chunk.data if chunk.stream == "stdout" else b""
                while len(have) >= _HEADER:
                    length = int.from_bytes(have[1:_HEADER], "little")
                    if length > MOST:
                        raise ProtocolViolation("run_student sends what is no frame")
                    if len(have) < _HEADER + length:
                        break
                    yield Frame(chr(have[0]), bytes(have[_HEADER : _HEADER + length]))
                    del have[: _HEADER + length]
        except ConnectionLost:
            return
