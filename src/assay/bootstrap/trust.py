"""Folders that nobody else can change: what is read from them decides what we run and remove."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from assay.domain.errors import Unavailable
from assay.drivers.linux.users import read_ids

_NOBODY: Final = 65534


def require_ours(folder: Path, use: str, remedy: str) -> None:
    """Raise Unavailable if others can change a folder, or one on the way to it; what isn't there
    yet is passed over.

    `use` says what it is for, `remedy` how another one is chosen.
    """
    owners = {0, os.geteuid()}
    if os.geteuid() == 0 and read_ids().rootless:
        owners.add(_NOBODY)  # the machine's root, as a user namespace shows it
    real = folder.resolve()
    for each in {folder, *folder.parents, real, *real.parents}:
        try:
            facts = each.lstat()
        except OSError:
            continue
        if facts.st_uid not in owners or _is_open(facts):
            raise Unavailable(
                f"others can change {each}, so it can't hold {use}; choose another folder {remedy}"
            )


def _is_open(facts: os.stat_result) -> bool:
    """Whether others may make and rename what is in a folder.

    A user's own group, which often may write, has the user's number.
    """
    if stat.S_ISLNK(facts.st_mode) or facts.st_mode & stat.S_ISVTX:
        return False
    writers = stat.S_IWOTH | (0 if facts.st_gid == facts.st_uid else stat.S_IWGRP)
    return bool(facts.st_mode & writers)
