"""Processor time of one thread by stages, each nanosecond charged to one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from itertools import pairwise
from statistics import median
from typing import Any, Final

_READINGS: Final = 1001


class Ledger:
    """The account of the thread that made it; what runs in others goes by unseen.

    Stages are nested as calls are: while an inner one runs, the outer one is charged nothing. A
    coroutine is charged for its steps, not for what others do while it waits.
    """

    def __init__(self, clock: Callable[[], int] = time.thread_time_ns) -> None:
        self._clock = clock
        self._reading = cost_of(clock)
        self._thread = threading.get_ident()
        self._stack: list[str] = []
        self._since = 0
        self.spent: dict[str, int] = {}
        """Nanoseconds of each stage so far."""

    def enter(self, stage: str) -> None:
        """From now on charge `stage`."""
        self._charge()
        self._stack.append(stage)

    def leave(self) -> None:
        """From now on charge whoever was charged before, or nobody."""
        self._charge()
        self._stack.pop()

    def _charge(self) -> None:
        now = self._clock()
        if self._stack:
            stage = self._stack[-1]
            spent = now - self._since - self._reading
            self.spent[stage] = self.spent.get(stage, 0) + max(0, spent)
        self._since = now

    # --- what it is put around -------------------------------------------------------------------

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, charged to `stage`."""

        @wraps(function)
        def charged(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return function(*arguments, **named)
            self.enter(stage)
            try:
                return function(*arguments, **named)
            finally:
                self.leave()

        return charged

    def around_steps(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A coroutine function, each step of its coroutines charged to `stage`."""

        @wraps(function)
        async def charged(*arguments: Any, **named: Any) -> Any:
            return await _Steps(self, stage, function(*arguments, **named))

        return charged


def cost_of(clock: Callable[[], int]) -> int:
    """Nanoseconds that one reading adds to whatever lies between two of them."""
    readings = [clock() for _ in range(_READINGS)]
    return round(median(later - earlier for earlier, later in pairwise(readings)))


class _Steps(Generator[Any, Any, Any]):
    """A coroutine whose steps are charged."""

    def __init__(self, ledger: Ledger, stage: str, inner: Coroutine[Any, Any, Any]) -> None:
        self._ledger, self._stage, self._inner = ledger, stage, inner

    def __await__(self) -> _Steps:
        return self

    def send(self, value: Any) -> Any:
        """One step."""
        self._ledger.enter(self._stage)
        try:
            return self._inner.send(value)
        finally:
            self._ledger.leave()

    def throw(self, *error: Any) -> Any:
        """One step, beginning with an error."""
        self._ledger.enter(self._stage)
        try:
            return self._inner.throw(*error)
        finally:
            self._ledger.leave()
