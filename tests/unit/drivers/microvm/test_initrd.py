from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from assay.drivers.microvm.initrd import archive, device, file, folder

ENTRIES = {
    "dev": folder(),
    "dev/console": device(5, 1),
    "init": file(b"\x7fELF" + bytes(range(256)), 0o755),
    "empty": file(b""),
    "odd": file(b"12345"),
}


@pytest.mark.skipif(
    shutil.which("cpio") is None and not os.environ.get("CI"), reason="cpio is needed"
)
def test_cpio_finds_what_was_put_in(tmp_path: Path) -> None:
    subprocess.run(
        ["cpio", "--extract", "--quiet", "--no-absolute-filenames", "init", "empty", "odd"],
        input=archive(ENTRIES), cwd=tmp_path, check=True,
    )  # fmt: skip
    assert (tmp_path / "init").read_bytes() == ENTRIES["init"].content
    assert stat.S_IMODE((tmp_path / "init").stat().st_mode) == 0o755
    assert (tmp_path / "empty").read_bytes() == b""
    assert (tmp_path / "odd").read_bytes() == b"12345"
    listed = subprocess.run(
        ["cpio", "--list", "--verbose", "--quiet"],
        input=archive(ENTRIES), capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    assert "crw-------" in listed
    assert "drwxr-xr-x" in listed


def test_everything_begins_at_a_multiple_of_four() -> None:
    made = archive(ENTRIES)
    assert len(made) % 4 == 0
    assert made.count(b"070701") == len(ENTRIES) + 1
    assert b"TRAILER!!!\0" in made
    assert archive(ENTRIES) == made
