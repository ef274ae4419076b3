"""What the storage tells an observer, always in the event loop's thread."""

from __future__ import annotations

from dataclasses import dataclass

from assay.domain.errors import AssayError


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """So many operations were committed together, in so many seconds."""

    operations: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class StorageFailed:
    """An operation failed, whether somebody waits for it or not."""

    operation: str
    error: AssayError


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseLost:
    """The database went away; operations wait until it is there again."""

    error: AssayError


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseBack:
    """The database is there again, after so many seconds."""

    seconds: float


Event = Committed | StorageFailed | DatabaseLost | DatabaseBack
