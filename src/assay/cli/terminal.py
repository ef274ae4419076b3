"""The user's terminal while a program in a sandbox has it."""

from __future__ import annotations

import contextlib
import os
import termios
import tty
from collections.abc import Iterator

from assay.domain.command import TerminalSize


class Terminal:
    """The terminal that is our standard input and output."""

    def __init__(self, descriptor: int = 0) -> None:
        self._descriptor = descriptor
        self._modes = termios.tcgetattr(descriptor)

    def size(self) -> TerminalSize:
        """Its rows and columns; the usual ones when it doesn't say."""
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(self._descriptor)
            if columns > 0 and rows > 0:
                return TerminalSize(rows=min(rows, 9999), columns=min(columns, 9999))
        return TerminalSize()

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Hand every key on as it is, Ctrl-C too; at the end it is as it was."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        """Make it raw; keys that were typed already are kept."""
        with contextlib.suppress(termios.error):
            tty.setraw(self._descriptor, termios.TCSANOW)

    def leave(self) -> None:
        """Make it what it was, unless the shell has taken it back: then it has its own modes."""
        with contextlib.suppress(termios.error, OSError):
            if os.tcgetpgrp(self._descriptor) == os.getpgrp():
                # Not "after all output": whoever shows it may have stopped to.
                termios.tcsetattr(self._descriptor, termios.TCSANOW, self._modes)


def has_terminal() -> bool:
    """Whether both standard input and output are one."""
    return os.isatty(0) and os.isatty(1)
