"""Which node gets the next sandbox: a pure function of how they stand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

HEARD_SECONDS: Final = 4.0
"""A node that has said nothing for longer gets nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stand:
    """How a node stands, as far as is known here."""

    name: str
    heard_at: float
    """When it last said something, on the event loop's clock."""
    draining: bool = False
    sandboxes: int = 0
    most: int = 0
    stock: int = 0
    """Prepared sandboxes that wait there."""
    load: float = 0.0
    """Programs that want a processor, by processors."""
    asked: int = 0
    """Sandboxes that were asked for since it has said so, or are being made."""

    @property
    def room(self) -> int:
        """Sandboxes that it takes yet."""
        return self.most - self.sandboxes - self.asked

    @property
    def prepared(self) -> int:
        """Prepared sandboxes that nobody has asked for yet."""
        return max(0, self.stock - self.asked)


def choose(stands: Iterable[Stand], now: float) -> str | None:
    """The name of the node, or None when none takes any.

    One that has a sandbox prepared comes before one that has to make it from nothing; then the one
    with the least to do, counting what was just asked for, and the emptier one.
    """
    able = [stand for stand in stands if takes(stand, now)]
    chosen = min(able, key=_order, default=None)
    return None if chosen is None else chosen.name


def takes(stand: Stand, now: float) -> bool:
    """Whether a node may get a sandbox at all."""
    return not stand.draining and now - stand.heard_at <= HEARD_SECONDS and stand.room > 0


def _order(stand: Stand) -> tuple[bool, int, float, float, str]:
    used = (stand.sandboxes + stand.asked) / stand.most
    # A load is an average of the last minute: what was just asked for isn't in it yet.
    return stand.prepared == 0, stand.asked, round(stand.load, 1), used, stand.name
