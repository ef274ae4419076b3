"""The two ways in which `assay run` answers: live, or by one line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass, field
from typing import Any, Protocol

from assay.agent.execution import Chunk
from assay.cli.as_json import as_data, text_of
from assay.cli.failure import explanation, say, status_of
from assay.cli.follow import Sink
from assay.cli.remarks import Ended, last_words, remark
from assay.cli.streams import Output
from assay.domain.errors import AssayError
from assay.driver.guard import Event, SandboxCreated


@dataclass(kw_only=True, slots=True)
class Made:
    """The sandbox that was made for a run."""

    driver: str
    id: str = ""
    create_seconds: float = 0.0

    def observe(self, event: Event) -> None:
        """Note which it is and how long making it took."""
        if isinstance(event, SandboxCreated):
            self.id, self.create_seconds = event.sandbox_id, event.seconds


class Answer(Protocol):
    """Where a run's output and its end go."""

    live: bool
    """The program may have our terminal."""

    @property
    def sink(self) -> Sink:
        """For the program's output."""
        ...

    @property
    def compiler_sink(self) -> Sink:
        """For the compiler's."""
        ...

    async def ended(self, ended: Ended, made: Made) -> int:
        """Say how it ended, and return the exit status."""
        ...

    async def failed(self, error: AssayError) -> int:
        """Say what went wrong before the program could end, and return the exit status."""
        ...


class LiveAnswer:
    """The program's streams are joined to ours; the compiler's both to standard error."""

    live = True

    def __init__(self) -> None:
        stderr = Output(2)
        self._outputs = (Output(1), stderr)
        self.sink = Joined(stdout=self._outputs[0], stderr=stderr)
        self.compiler_sink = Joined(stdout=stderr, stderr=stderr)

    async def ended(self, ended: Ended, made: Made) -> int:
        """One line where the program itself can't have said it."""
        text = remark(ended)
        if text is not None:
            self._say(text)
        elif os.isatty(2) and (words := last_words(ended.outcome)):
            self._say(words)
        return ended.status

    async def failed(self, error: AssayError) -> int:
        """One line."""
        self._say(explanation(error))
        return status_of(error)

    def _say(self, text: str) -> None:
        if os.isatty(2) and not all(output.at_line_start for output in self._outputs):
            with contextlib.suppress(OSError):
                os.write(2, b"\n")
        say(text)


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """Output goes where ours goes, at once; who is slow to read slows the program down."""

    stdout: Output
    stderr: Output

    async def take(self, chunk: Chunk) -> None:
        """Write it. Raises BrokenPipeError when nobody reads any more."""
        output = self.stdout if chunk.stream == "stdout" else self.stderr
        try:
            await output.write(chunk.data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise AssayError(f"cannot write the program's output: {error.strerror}") from error


class JsonAnswer:
    """All of it on one line at the end, output included: the output limit bounds it."""

    live = False

    def __init__(self) -> None:
        self.sink = Kept()
        self.compiler_sink = Kept()

    async def ended(self, ended: Ended, made: Made) -> int:
        """The line; docs/cli.md explains its keys."""
        compiled, ran = self.compiler_sink, self.sink
        data = {
            **as_data(ended),
            "driver": made.driver,
            "sandbox": {"id": made.id, "create_ms": round(made.create_seconds * 1000, 3)},
            **text_of("stdout", bytes(ran.stdout)),
            **text_of("stderr", bytes(ran.stderr)),
            **text_of("compiler_output", bytes(compiled.stdout + compiled.stderr)),
        }
        await self._print(data)
        if (text := remark(ended)) is not None:
            say(text)
        return ended.status

    async def failed(self, error: AssayError) -> int:
        """A line, too; and the usual one on standard error."""
        status = status_of(error)
        about = {"code": error.code, "message": error.message, "detail": error.detail}
        await self._print({"error": about, "exit_status": status})
        say(explanation(error))
        return status

    async def _print(self, data: dict[str, Any]) -> None:
        await Output(1).write(json.dumps(data, ensure_ascii=False).encode(errors="replace") + b"\n")


@dataclass(slots=True)
class Kept:
    """Output is kept."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)

    async def take(self, chunk: Chunk) -> None:
        """Keep it."""
        kept: bytearray = getattr(self, chunk.stream)
        kept += chunk.data
