"""A group is made though another server removes it, or what is above it, in between."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.drivers.linux.cgroups import make_folder


@pytest.mark.parametrize("gone", [FileNotFoundError, FileExistsError])
def test_what_is_tidied_up_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: type[OSError]
) -> None:
    makedirs, tries = os.makedirs, []

    def tidied(folder: str, *, exist_ok: bool) -> None:
        tries.append(folder)
        if len(tries) < 3:
            raise gone(folder)
        makedirs(folder, exist_ok=exist_ok)

    monkeypatch.setattr(os, "makedirs", tidied)
    make_folder(tmp_path / "one")
    assert (tmp_path / "one").is_dir()
    assert len(tries) == 3
