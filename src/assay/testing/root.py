"""A root file system that holds nothing: the suites bring their one program along."""

from __future__ import annotations

from pathlib import Path

from assay.driver.port import RootFilesystem

_FOLDERS = (
    ".assay", "bin", "dev", "etc", "lib", "lib64", "proc", "tmp", "usr/bin", "var/tmp", "workspace",
)  # fmt: skip


def bare_root(folder: Path) -> RootFilesystem:
    """Make an empty root file system in a folder, which must be there."""
    root = folder / "bare-root"
    for name in _FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for path in (root, *root.rglob("*")):
        path.chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (root / "etc/shadow").write_text("root:!:1::::::\n")
    (root / "etc/shadow").chmod(0o600)
    return RootFilesystem(digest="bare", path=root)
