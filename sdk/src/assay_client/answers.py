"""What the server's answers look like, where that is not what callers get."""

from __future__ import annotations

import base64
import binascii

from assay_client.errors import ProtocolViolation
from assay_client.values import (
    FileInfo,
    Lease,
    Measurements,
    Outcome,
    PoolState,
    Result,
    Timings,
    Value,
)


class Stored(Value, frozen=True, kw_only=True):
    """Of `execute`."""

    execution_id: str


class FileList(Value, frozen=True, kw_only=True):
    """Of `files`."""

    files: tuple[FileInfo, ...] = ()


class Leases(Value, frozen=True, kw_only=True):
    """Of `runners`."""

    runners: tuple[Lease, ...] = ()


class Ran(Value, frozen=True, kw_only=True):
    """Of both `run`s."""

    outcome: Outcome
    stdout: str = ""
    stderr: str = ""
    encoding: str = "utf-8"
    measurements: Measurements | None = None
    start_error: str | None = None
    step: str | None = None
    timings: Timings | None = None

    def result(self) -> Result:
        """As callers get it."""
        return Result(
            outcome=self.outcome,
            stdout_bytes=self._bytes(self.stdout),
            stderr_bytes=self._bytes(self.stderr),
            measurements=self.measurements or Measurements(),
            start_error=self.start_error,
            step=self.step,
            timings=self.timings or Timings(),
        )

    def _bytes(self, text: str) -> bytes:
        if self.encoding != "base64":
            return text.encode()
        try:
            return base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise ProtocolViolation("the server's output is no base64") from error


class Pools(Value, frozen=True, kw_only=True):
    """Of `pool`."""

    environments: dict[str, PoolState] = {}  # noqa: RUF012 (msgspec copies it)
