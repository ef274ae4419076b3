"""A terminal as the kernel's with its default settings: echo, lines, and keys that are signals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from assay.domain.command import TerminalSize

_SIGNAL_KEYS: Final = {0x03: 2, 0x1C: 3, 0x1A: 20}
_END_KEY: Final = 0x04
_ERASE_KEY: Final = 0x7F


class Terminal:
    """Turns typed bytes into lines for the program, and shows them.

    `show` gets what appears on the screen, `line` what a read of the program returns (b"" is
    the end of file), `signal` the number of a signal for the foreground.
    """

    def __init__(
        self,
        size: TerminalSize,
        *,
        show: Callable[[bytes], None],
        line: Callable[[bytes], None],
        signal: Callable[[int], None],
    ) -> None:
        self.size = size
        self._show = show
        self._line = line
        self._signal = signal
        self._typed = bytearray()

    def type(self, data: bytes) -> None:
        """Take what was typed."""
        for key in data:
            self._key(0x0A if key == 0x0D else key)

    def _key(self, key: int) -> None:
        if key in _SIGNAL_KEYS:
            self._typed.clear()
            self._echo(key)
            self._signal(_SIGNAL_KEYS[key])
        elif key == _END_KEY:
            self._finish_line()
        elif key == _ERASE_KEY:
            if self._typed:
                self._typed.pop()
                self._show(b"\b \b")
        else:
            self._typed.append(key)
            self._echo(key)
            if key == 0x0A:
                self._finish_line()

    def _finish_line(self) -> None:
        self._line(bytes(self._typed))
        self._typed.clear()

    def _echo(self, key: int) -> None:
        if key < 0x20 and key not in (0x0A, 0x09):
            self._show(b"^" + bytes([key + 0x40]))
        else:
            self._show(on_screen(bytes([key])))


def on_screen(data: bytes) -> bytes:
    """What a terminal makes of a program's output."""
    return data.replace(b"\n", b"\r\n")
