"""Signals to this process while a program runs in a sandbox.

    Ctrl-C (SIGINT)     the program gets it; a second one within 2 seconds cancels
    SIGTERM, SIGHUP     cancel; the second one doesn't wait for the program's facts
    Ctrl-Z (SIGTSTP)    the program stops, then we do; both go on with SIGCONT
    SIGWINCH            the program's terminal gets the new size

With nothing running yet (or any more), Ctrl-C cancels as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Protocol, TypeVar

from assay.cli.terminal import Terminal
from assay.domain.command import TerminalSize
from assay.domain.errors import AgentError

AGAIN_SECONDS: Final = 2.0
Answer = TypeVar("Answer")
_SECONDS_TO_END: Final = 2.0


class Interruptible(Protocol):
    """A program that runs, here or on a server."""

    async def signal(self, number: int, /) -> None:
        """Send it a signal."""
        ...

    async def cancel(self) -> None:
        """End it."""
        ...

    async def resize(self, size: TerminalSize, /) -> None:
        """Give its terminal another size."""
        ...


def run_watched(work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run something asynchronous; Ctrl-C, SIGTERM and SIGHUP cancel it, and it cleans up.

    Raises KeyboardInterrupt then.
    """

    async def watched() -> Answer:
        with Interrupts().watched():
            return await work()

    try:
        return asyncio.run(watched())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


class Interrupts:
    """Watches the signals of this process on behalf of the task that makes it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._main = task
        self._execution: Interruptible | None = None
        self._terminal: Terminal | None = None
        self._cancelling = self._leaving = False
        self._last = float("-inf")
        self._work: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Catch what would end this process, so that it can clean up."""
        reactions = {
            signal.SIGINT: self._on_interrupt,
            signal.SIGTERM: self._on_end,
            signal.SIGHUP: self._on_end,
        }
        if os.environ.get("ASSAY_DEBUG") != "1":
            # What nobody waits for any more is no news to people.
            self._loop.set_exception_handler(lambda loop, context: None)
        for number, reaction in reactions.items():
            self._loop.add_signal_handler(number, reaction)
        try:
            yield
        finally:
            for number in reactions:
                # Till the end of the process: what remains to be done is done quickly.
                self._loop.add_signal_handler(number, lambda: None)

    @contextlib.contextmanager
    def of(self, execution: Interruptible, terminal: Terminal | None = None) -> Iterator[None]:
        """Signals concern this program, for as long as the block lasts."""
        self._execution, self._terminal = execution, terminal
        self._loop.add_signal_handler(signal.SIGTSTP, self._on_stop)
        if terminal is not None:
            self._loop.add_signal_handler(signal.SIGWINCH, self._on_resize)
        try:
            yield
        finally:
            self._execution = self._terminal = None
            self._loop.remove_signal_handler(signal.SIGTSTP)
            self._loop.remove_signal_handler(signal.SIGWINCH)

    def _on_interrupt(self) -> None:
        now = self._loop.time()
        again, self._last = now - self._last < AGAIN_SECONDS, now
        if self._execution is None or again:
            self._on_end()
        else:
            self._do(self._execution.signal(signal.SIGINT))

    def _on_end(self) -> None:
        if self._execution is None or self._cancelling:
            self._leave()
            return
        self._cancelling = True
        self._do(self._execution.cancel())
        self._loop.call_later(_SECONDS_TO_END, self._leave)

    def _leave(self) -> None:
        """Give up, once: from then on what cleans up isn't disturbed."""
        if not self._leaving:
            self._leaving = True
            self._main.cancel()

    def _on_resize(self) -> None:
        if self._execution is not None and self._terminal is not None:
            self._do(self._execution.resize(self._terminal.size()))

    def _on_stop(self) -> None:
        if self._execution is not None:
            self._do(self._stop(self._execution, self._terminal))

    async def _stop(self, execution: Interruptible, terminal: Terminal | None) -> None:
        await execution.signal(signal.SIGSTOP)
        await asyncio.sleep(0.01)  # for the connection to take it
        if terminal is not None:
            terminal.leave()
        os.kill(os.getpid(), signal.SIGSTOP)  # returns when somebody sends SIGCONT
        if terminal is not None:
            terminal.enter()
            await execution.resize(terminal.size())
        await execution.signal(signal.SIGCONT)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        async def quietly() -> None:
            with contextlib.suppress(AgentError):  # whoever follows the program gets it too
                await work

        task = self._loop.create_task(quietly())
        self._work.add(task)
        task.add_done_callback(self._work.discard)
