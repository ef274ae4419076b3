"""A real Debian, made by mmdebstrap once on each machine: pulled, unpacked, shared by others."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from making import END, LAYER, entry, gzipped, plain
from registry import push, real_registry

CACHE = Path("/var/cache/assay-tests/debian-python.tar")
MAKE = (
    "mmdebstrap", "--mode=root", "--variant=minbase", "--include=python3", "bookworm",
)  # fmt: skip
NEEDED = ("skopeo", "docker-registry", "mmdebstrap")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("CI") and None in map(shutil.which, NEEDED),
        reason=f"needs {', '.join(NEEDED)}",
    ),
]


@pytest.fixture(scope="module")
def debian() -> Path:
    """The archive of a Debian with Python; it takes a minute and the network to make."""
    if not CACHE.exists():
        if not os.environ.get("CI"):
            pytest.skip(f"make it once: {' '.join(MAKE)} {CACHE}")
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        draft = CACHE.with_name("draft.tar")
        subprocess.run([*MAKE, draft], check=True, timeout=600)
        draft.rename(CACHE)
    return CACHE


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="assay-registry-", dir="/dev/shm"))
    try:
        with real_registry(folder) as host:
            yield host
    finally:
        shutil.rmtree(folder)


@pytest.mark.timeout(300)
def test_a_debian_and_those_that_are_made_of_it_share_its_files(debian, registry, layout, images):
    archive = debian.read_bytes()
    layout.image(archive, pack=plain, tag="base", config={"Env": ["PATH=/usr/bin"]})
    base = {"mediaType": LAYER, **layout.blob(archive)}
    own = entry("opt/own", os.urandom(100_000)) + entry(".wh.media") + END
    more = {"mediaType": LAYER, **layout.blob(gzipped(own))}
    layout.image(archive, own, tag="more", pack=plain, manifest={"layers": [base, more]})
    for tag in ("base", "more"):
        push(f"{layout.reference}:{tag}", f"{registry}/debian:{tag}")
    one = images.pull(f"{registry}/debian:base").root.path
    python = subprocess.run(
        ["chroot", one, "/usr/bin/python3", "-c", "print(40 + 2)"], capture_output=True, check=True
    )
    assert python.stdout == b"42\n"
    assert (one / "usr/bin/passwd").stat().st_mode & 0o7777 == 0o755
    assert (one / "var/mail").stat().st_mode & 0o7777 == 0o2775
    two = images.pull(f"{registry}/debian:more").root.path
    assert not (two / "media").exists()
    assert blocks(one, two) - blocks(one) < blocks(one) / 10


def blocks(*folders: Path) -> int:
    """Bytes on disk, of files and folders; what has several names is counted once."""
    found = {}
    for folder in folders:
        for path in folder.rglob("*"):
            facts = path.lstat()
            found[facts.st_ino] = facts.st_blocks * 512
    return sum(found.values())
