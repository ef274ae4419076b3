"""Which sandbox is which server's: a file for each, so that a node that was killed knows it, too.

owners/OWNER/SANDBOX    its content is the ticket by which the server has asked for it
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path


def owner_of(name: str, scope: str) -> str:
    """What the sandboxes of a server are kept under: the name in its certificate, and which of the
    servers with this name it says it is.
    """
    return hashlib.sha256(f"{name}\0{scope}".encode()).hexdigest()[:16]


class Owners:
    """All that is noted, in memory and on disk. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owned: dict[str, dict[str, str]] = {}
        for owner in folder.glob("*/"):
            self._owned[owner.name] = {each.name: each.read_text() for each in owner.iterdir()}

    def note(self, owner: str, sandbox_id: str, ticket: str) -> None:
        """A sandbox was made for somebody."""
        folder = self._folder / owner
        if owner not in self._owned:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._owned[owner] = {}
        (folder / sandbox_id).write_text(ticket)
        self._owned[owner][sandbox_id] = ticket

    def forget(self, owner: str, sandbox_id: str) -> None:
        """It is gone."""
        self._owned.get(owner, {}).pop(sandbox_id, None)
        (self._folder / owner / sandbox_id).unlink(missing_ok=True)

    def of(self, owner: str) -> Mapping[str, str]:
        """The sandboxes of somebody, with their tickets."""
        return self._owned.get(owner, {})

    def owns(self, owner: str, sandbox_id: str) -> bool:
        """Whether it is theirs."""
        return sandbox_id in self._owned.get(owner, {})

    def made_by(self, owner: str, ticket: str) -> str | None:
        """The sandbox that was made for a ticket."""
        found = (each for each, made_by in self.of(owner).items() if made_by == ticket)
        return next(found, None)

    def all(self) -> Mapping[str, str]:
        """Every sandbox, with whose it is."""
        return {each: owner for owner, owned in self._owned.items() for each in owned}

    def forget_vanished(self, existing: Collection[str]) -> None:
        """Forget what the driver no longer has."""
        there = frozenset(existing)
        for sandbox_id, owner in self.all().items():
            if sandbox_id not in there:
                self.forget(owner, sandbox_id)
        for folder in self._folder.glob("*/"):
            with contextlib.suppress(OSError):  # it is not empty
                folder.rmdir()
                self._owned.pop(folder.name, None)
