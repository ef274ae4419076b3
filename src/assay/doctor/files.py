"""Reads a machine's files, and never fails: what can't be read is None."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Files:
    """The files beneath a root: "/", or the folder of a machine that a test has invented."""

    root: Path = Path("/")

    def at(self, path: str) -> Path:
        """Where an absolute path of the machine is."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str | None:
        """The whole file, without white space around it."""
        try:
            return self.at(path).read_text(errors="replace").strip()
        except (OSError, ValueError):
            return None

    def number(self, path: str) -> int | None:
        """The file's first word, if it is a number."""
        words = (self.text(path) or "").split()
        try:
            return int(words[0]) if words else None
        except ValueError:
            return None

    def switch(self, path: str) -> bool | None:
        """Whether a setting is on: any number but 0, or Y."""
        text = self.text(path)
        if text in ("Y", "y"):
            return True
        if text in ("N", "n"):
            return False
        number = self.number(path)
        return None if number is None else number != 0

    def has(self, path: str) -> bool:
        """Whether there is such a file or folder."""
        try:
            return os.path.lexists(self.at(path))
        except ValueError:
            return False

    def names(self, path: str) -> tuple[str, ...] | None:
        """What is in a folder, sorted."""
        try:
            return tuple(sorted(each.name for each in self.at(path).iterdir()))
        except (OSError, ValueError):
            return None

    def may_write(self, path: str) -> bool:
        """Whether this process may write there."""
        try:
            return os.access(self.at(path), os.W_OK)
        except ValueError:
            return False
