"""A place for images, and for layouts made by hand."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from making import Layout

from assay.images import Images
from assay.images.beneath import open_in


@pytest.fixture(autouse=True)
def nothing_open() -> Iterator[None]:
    """No test leaves a descriptor or a child behind."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    children = Path("/proc/self/task", str(Path("/proc/thread-self").readlink().name), "children")
    ours = children.read_text()
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
    assert children.read_text() == ours


@pytest.fixture(scope="session", autouse=True)
def nothing_leads_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Before anything hostile is unpacked as root: stop here if a look-up gets out."""
    folder = os.open(tmp_path_factory.mktemp("root"), os.O_RDONLY)
    try:
        for path in (b"/usr", b"../../../../../usr"):
            with suppress(FileNotFoundError):
                os.close(open_in(folder, path, os.O_PATH))
                pytest.exit("open_in leads out of its folder", returncode=1)
    finally:
        os.close(folder)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory: each image is flushed to its disk, and disks of busy machines are slow."""
    folder = Path(tempfile.mkdtemp(prefix="assay-images-", dir="/dev/shm"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """On a file system with the limits of one, where other users may look."""
    folder = Path(tempfile.mkdtemp(prefix="assay-images-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images")


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder that nothing may touch: everything in it is the same afterwards."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "file").write_text("mine")
    before = place.stat().st_mtime_ns, (place / "file").stat()
    yield place
    assert [item.name for item in place.iterdir()] == ["file"]
    assert (place.stat().st_mtime_ns, (place / "file").stat()) == before
