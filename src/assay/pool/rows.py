"""What a pool has to have written down; the database offers it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol

from assay.storage.records import SandboxRecord


class Rows(Protocol):
    """A row for each sandbox. Whatever is awaited survives `kill -9`; it raises StorageError."""

    def clock(self) -> float:
        """Seconds since 1970 on the database's clock."""
        ...

    def add_sandbox(self, record: SandboxRecord, *, later: bool = False) -> Awaitable[object]:
        """Write down a sandbox that was made; `later`: with what else is written in a moment."""
        ...

    def hurry(self) -> None:
        """Write down now whatever was to be written later."""
        ...

    def take_sandbox(self, sandbox_id: str, *, later: bool = False) -> Awaitable[object]:
        """Write down that somebody has it from now on. Raises when somebody had it already."""
        ...

    def remove_sandbox(self, sandbox_id: str) -> Awaitable[object]:
        """Forget a sandbox; one that isn't there is no error."""
        ...
