"""Ports of a sandbox: a stream of bytes to a TCP port on its own loopback."""

from __future__ import annotations

from assay.agent.client import NO_LIMITS, Agent
from assay.agent.execution import Execution
from assay.domain.errors import ConnectionLost, ExecutionRefused, InvalidInput
from assay.driver.port import ByteStream


async def open_port(agent: Agent, port: int) -> ByteStream:
    """Open a stream to a TCP port; when nothing listens there, reading raises ConnectionLost."""
    if not 1 <= port <= 65535:
        raise InvalidInput(f"there is no port {port}")
    execution = await agent.start_builtin("tunnel", str(port), stdin=True, limits=NO_LIMITS)
    return PortStream(execution, port)


class PortStream:
    """A ByteStream over an execution of the agent's `tunnel`."""

    def __init__(self, execution: Execution, port: int) -> None:
        self._execution = execution
        self._port = port
        self._output = execution.output()
        self._left = b""
        self._message = b""
        self._closed = False

    async def read(self, most: int) -> bytes:
        """Return 1 to `most` bytes, or b"" once the program has closed its side."""
        if not self._left:
            self._left = await self._next()
        data, self._left = self._left[:most], self._left[most:]
        return data

    async def _next(self) -> bytes:
        self._check_open()
        try:
            async for chunk in self._output:
                if chunk.stream == "stdout":
                    return chunk.data
                self._message = (self._message + chunk.data)[:1000]
            facts = await self._execution.wait()
        except ExecutionRefused as error:
            raise ConnectionLost(error.message, detail=error.detail) from error
        if facts.exit_code != 0:
            raise ConnectionLost(
                f"nothing answers on port {self._port} in the sandbox",
                detail=self._message.decode("utf-8", errors="replace").strip(),
            )
        return b""

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Hand over all of `data`; waits while the program is slow to read."""
        self._check_open()
        await self._execution.write(bytes(data))
        if self._execution.input_closed or self._execution.ended:
            raise ConnectionLost(f"port {self._port} of the sandbox takes no more")

    async def end_input(self) -> None:
        """Say that nothing more will be written; reading goes on."""
        await self._execution.end_input()

    async def aclose(self) -> None:
        """Close both directions."""
        if not self._closed:
            self._closed = True
            self._execution.abandon()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost(f"the stream to port {self._port} was closed")
