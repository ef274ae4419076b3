"""QEMU's own protocol for who controls it: a line of JSON for each command, answer and event."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import Any, Final

from assay.domain.errors import RuntimeFailed

_MOST: Final = 1024 * 1024


class Control:
    """The connection to one QEMU. Methods raise RuntimeFailed, also when it doesn't answer."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection = connection
        self._connection.settimeout(seconds)
        self._came = b""
        self._answer("QMP")
        self.do("qmp_capabilities")

    def do(self, command: str, descriptor: int | None = None, **arguments: object) -> Any:
        """Give a command, with a file descriptor if it takes one, and return its answer."""
        line = json.dumps({"execute": command, "arguments": arguments}).encode()
        try:
            given = [] if descriptor is None else [descriptor]
            socket.send_fds(self._connection, [line], given)
        except OSError as error:
            raise RuntimeFailed(f"QEMU takes no command {command}", detail=str(error)) from error
        return self._answer("return")

    def _answer(self, wanted: str) -> Any:
        while True:
            said = self._next()
            if wanted in said:
                return said[wanted]
            if "error" in said:
                raise RuntimeFailed("QEMU refused a command", detail=json.dumps(said["error"]))

    def _next(self) -> dict[str, Any]:
        while b"\n" not in self._came:
            try:
                data = self._connection.recv(65536)
            except OSError as error:
                raise RuntimeFailed("QEMU does not answer", detail=str(error)) from error
            if not data or len(self._came) > _MOST:
                raise RuntimeFailed("QEMU does not answer")
            self._came += data
        line, _, self._came = self._came.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise RuntimeFailed("QEMU's answer makes no sense", detail=repr(line[:200]))
        return said

    def keep(self, state: int, seconds: float) -> None:
        """Stop the machine and write its state, but for its memory, to a file."""
        self.do("stop")
        self._leave_memory()
        self.do("getfd", state, fdname="state")
        self.do("migrate", uri="fd:state")
        deadline = time.monotonic() + seconds
        while (found := self.do("query-migrate")).get("status") != "completed":
            if found.get("status") in ("failed", "cancelled") or time.monotonic() > deadline:
                raise RuntimeFailed("QEMU could not keep a machine", detail=json.dumps(found))
            time.sleep(0.005)
        os.fsync(state)

    def restore(self, state: int, seconds: float) -> None:
        """Let a machine that was started to be restored go on; its memory is there already."""
        self._leave_memory()
        self.do("getfd", state, fdname="state")
        self.do("migrate-incoming", uri="fd:state")
        deadline = time.monotonic() + seconds
        while self.do("query-status").get("status") == "inmigrate":
            if time.monotonic() > deadline:
                raise RuntimeFailed("QEMU could not restore a machine")
            time.sleep(0.002)
        self.do("cont")

    def _leave_memory(self) -> None:
        ignoring = [{"capability": "x-ignore-shared", "state": True}]
        self.do("migrate-set-capabilities", capabilities=ignoring)
