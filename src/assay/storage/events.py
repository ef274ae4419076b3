"""What the storage tells an observer, always in the event loop's thread."""

from __future__ import annotations

from collections.abc import Callable
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


def failures_to(
    on_event: Callable[[Event], None] | None,
) -> Callable[[Event], None] | None:
    """Of questions only failures are told: they are no transactions to be counted."""
    if on_event is None:
        return None

    def observe(event: Event) -> None:
        if isinstance(event, StorageFailed):
            on_event(event)

    return observe
