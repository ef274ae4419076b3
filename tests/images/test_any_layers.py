"""Layers of whatever entries chance brings: refused, or beneath the root and harmless."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from making import Layout, entry, plain

from assay.domain.errors import InvalidImage
from assay.images import Images

PARTS = [
    "a", "b", "d", "..", ".", "", "proc", "dev", "tmp", "etc", ".wh.a", ".wh..wh..opq", ".wh.d",
]  # fmt: skip
NAMES = st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).map("/".join)
TARGETS = NAMES | st.sampled_from(["..", "../outside", "../../outside", "/dev/shm", "a/../.."])
ENTRIES = st.builds(
    lambda name, kind, target, content, mode, owner: entry(
        name,
        content if kind in (b"0", b"\0") else b"",
        kind=kind,
        target=target,
        mode=mode,
        owner=owner,
    ),
    NAMES,
    st.sampled_from([b"0", b"0", b"5", b"5", b"2", b"2", b"1", b"3", b"6", b"\0"]),
    TARGETS,
    st.sampled_from([b"", b"x", b"other"]),
    st.sampled_from([0, 0o644, 0o6755, 0o7777]),
    st.sampled_from([0, 1000, 70000]),
)
LAYERS = st.lists(st.lists(ENTRIES, max_size=8), min_size=1, max_size=3)


@contextmanager
def a_place() -> Iterator[Path]:
    """A folder with something in it that nobody may touch."""
    place = Path(tempfile.mkdtemp(prefix="assay-images-", dir="/dev/shm"))
    try:
        (place / "outside").mkdir()
        (place / "outside/a").write_text("mine")
        before = (place / "outside").stat(), (place / "outside/a").stat()
        shared = {item.name for item in Path("/dev/shm").iterdir()}
        yield place
        assert ((place / "outside").stat(), (place / "outside/a").stat()) == before
        new = {item.name for item in Path("/dev/shm").iterdir()} - shared
        assert not [name for name in new if name in PARTS]
    finally:
        shutil.rmtree(place)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(LAYERS)
def test_any_layers_are_harmless_or_refused(layers: list[list[bytes]]) -> None:
    with a_place() as place:
        layout = Layout(place / "layout")
        layout.image(*layers, pack=plain)
        images = Images(place / "images")
        try:
            root = images.pull(layout.reference).root.path
        except InvalidImage:
            assert images.all() == []
            assert list((place / "images/drafts").iterdir()) == []
            return
        for path in root.rglob("*"):
            check(path.lstat())
        for name in ("proc", "dev", "sys", "tmp", "workspace", ".assay"):
            assert stat.S_ISDIR((root / name).lstat().st_mode)


def check(facts: os.stat_result) -> None:
    """Files, folders and links, of owners that a sandbox has, without special rights."""
    kind = stat.S_IFMT(facts.st_mode)
    assert kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    assert facts.st_uid <= 65535
    if kind == stat.S_IFREG:
        assert not facts.st_mode & (stat.S_ISUID | stat.S_ISGID)
