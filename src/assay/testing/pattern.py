"""The pattern that the probe's `flood` writes: every loss and every doubling shows in it."""

from __future__ import annotations

from typing import Final

BLOCK: Final = 4096
_FILLING: Final = bytes(ord("A") + (i * 7 + i // 26) % 26 for i in range(16, BLOCK - 1)) + b"\n"


def flood(size: int) -> bytes:
    """The first `size` bytes of the pattern."""
    blocks = (b"%015x\n" % number + _FILLING for number in range((size + BLOCK - 1) // BLOCK))
    return b"".join(blocks)[:size]


def records(count: int) -> bytes:
    """What `drip` writes."""
    return b"".join(b"%015x\n" % number for number in range(count))


class Follower:
    """Checks a flood as it comes, in constant memory."""

    def __init__(self) -> None:
        self.received = 0
        self.wrong: str = ""
        self._rest = b""
        self._block = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes; `wrong` says what is wrong with them, once something is."""
        self.received += len(data)
        self._rest += data
        whole = len(self._rest) // BLOCK
        for index in range(whole):
            block = self._rest[index * BLOCK : (index + 1) * BLOCK]
            if block != b"%015x\n" % self._block + _FILLING and not self.wrong:
                at = self._block * BLOCK
                self.wrong = f"bytes were lost, doubled or changed near offset {at}: {block[:32]!r}"
            self._block += 1
        self._rest = self._rest[whole * BLOCK :]

    def finish(self, size: int | None = None) -> str:
        """What is wrong with a flood that has ended, of `size` bytes if that is known; or ""."""
        expected = (b"%015x\n" % self._block + _FILLING)[: len(self._rest)]
        if not self.wrong and self._rest != expected:
            self.wrong = f"the last {len(self._rest)} bytes are not the pattern's"
        if not self.wrong and size is not None and self.received != size:
            self.wrong = f"{self.received} bytes came instead of {size}"
        return self.wrong
