"""Which sandbox is which server's: a file for each, so that a node that was killed knows it, too.

owners/OWNER/SANDBOX    the ticket by which a server has asked for it, and the highest epoch of
                        those who have had it
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from assay.domain.errors import SandboxGone

_DIGITS: Final = 20
"""Of an epoch: a note that is written anew is as long as before, and never there in part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """What is known of one sandbox."""

    ticket: str
    epoch: int = 0

    @property
    def text(self) -> str:
        """For its file."""
        return f"{self.ticket} {self.epoch:0{_DIGITS}d}"

    @classmethod
    def parse(cls, text: str) -> Note:
        """What a file says."""
        ticket, _, epoch = text.partition(" ")
        return cls(ticket=ticket, epoch=int(epoch) if epoch.isdecimal() else 0)


class Owners:
    """All that is noted, in memory and on disk. Methods raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._owned: dict[str, dict[str, Note]] = {}
        for owner in folder.glob("*/"):
            self._owned[owner.name] = {
                each.name: Note.parse(each.read_text()) for each in owner.iterdir()
            }

    def note(self, owner: str, sandbox_id: str, ticket: str, epoch: int = 0) -> None:
        """A sandbox was made for somebody."""
        folder = self._folder / owner
        if owner not in self._owned:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._owned[owner] = {}
        note = Note(ticket=ticket, epoch=epoch)
        (folder / sandbox_id).write_text(note.text)
        self._owned[owner][sandbox_id] = note

    def claim(self, owner: str, sandbox_id: str, epoch: int) -> None:
        """A server has it since this epoch, and those of lower ones no more.

        Raises SandboxGone if it is not this owner's, or a higher epoch has it.
        """
        note = self.of(owner).get(sandbox_id)
        if note is None:
            raise SandboxGone(f"there is no sandbox {sandbox_id} of this server here")
        if epoch < note.epoch:
            raise SandboxGone(
                f"another server has taken over the sandbox {sandbox_id}",
                detail=f"in epoch {note.epoch}; this one's is {epoch}",
            )
        if epoch > note.epoch:
            note = self._owned[owner][sandbox_id] = replace(note, epoch=epoch)
            _write_over(self._folder / owner / sandbox_id, note.text.encode())

    def forget(self, owner: str, sandbox_id: str) -> None:
        """It is gone."""
        self._owned.get(owner, {}).pop(sandbox_id, None)
        (self._folder / owner / sandbox_id).unlink(missing_ok=True)

    def of(self, owner: str) -> Mapping[str, Note]:
        """The sandboxes of somebody."""
        return self._owned.get(owner, {})

    def owns(self, owner: str, sandbox_id: str) -> bool:
        """Whether it is theirs."""
        return sandbox_id in self._owned.get(owner, {})

    def made_by(self, owner: str, ticket: str) -> str | None:
        """The sandbox that was made for a ticket."""
        found = (each for each, note in self.of(owner).items() if note.ticket == ticket)
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


def _write_over(file: Path, text: bytes) -> None:
    """In place, in one go: whoever reads it finds the old text or this one."""
    opened = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.pwrite(opened, text, 0)
    finally:
        os.close(opened)
