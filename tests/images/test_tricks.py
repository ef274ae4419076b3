"""Layers that want out of their root, or to cost too much: each one clear error, nothing left."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from making import (
    END,
    LAYER,
    Layout,
    entry,
    folder,
    gzipped,
    link,
    plain,
    records,
    same,
    zeros,
    zstd,
)

from assay.domain.errors import AssayError, InvalidImage
from assay.images import Images
from assay.images import layer as layer_module

DEEP = "/".join("d" * 200)
REFUSED: dict[str, tuple[list[bytes], str]] = {
    "an absolute name": ([entry("/etc/passwd", b"x")], "/etc/passwd: an absolute name"),
    "dots": ([entry("a/../../b", b"x")], "with .. in it"),
    "dots that stay inside": ([folder("a"), entry("a/../b", b"x")], "with .. in it"),
    "a long part": ([entry("x", extended={"path": "a" * 256})], "too long"),
    "a long name": ([entry("x", extended={"path": "a/" * 3000 + "b"})], "too long"),
    "deep folders": ([folder("", extended={"path": DEEP})], "deep"),
    "a NUL in a name": ([entry("x", extended={"path": b"a\0b"})], "NUL"),
    "a device": ([entry("etc/sda", kind=b"4")], "etc/sda: a device"),
    "a device by way of a link": (
        [folder("dev"), link("x", "dev"), entry("x/null", kind=b"3")],
        "a device",
    ),
    "a link in the place of the root": ([link(".", "/")], "in the place of the root"),
    "a file in the place of the root": ([entry("./", b"x")], "in the place of the root"),
    "a link in the place of proc": ([link("proc", "/etc")], "in the place of a folder"),
    "a link in the place of dev": ([link("dev", "..")], "in the place of a folder"),
    "a link in the place of tmp": ([link("./tmp", "/")], "in the place of a folder"),
    "a file in the place of .assay": ([entry(".assay", b"x")], "in the place of a folder"),
    "a link by way of another": ([link("x", "."), link("x/proc", "/etc")], "in the place of"),
    "a hard link in the place of workspace": (
        [entry("f"), same("workspace", "f")],
        "in the place of",
    ),
    "a hard link to nothing": ([same("a", "b")], "a: a hard link to b, which isn't there"),
    "a hard link to what comes later": ([same("a", "b"), entry("b")], "which isn't there before"),
    "a hard link to itself": ([same("a", "a")], "which isn't there before"),
    "a hard link to a folder": ([folder("d"), same("a", "d")], "no file"),
    "a hard link to the root": ([same("a", ".")], "a hard link to the root"),
    "a hard link with dots": ([same("a", "../../etc/passwd")], "with .. in it"),
    "an absolute hard link": ([same("a", "/etc/passwd")], "an absolute name"),
    "a hard link with content": ([entry("f"), entry("a", b"x", kind=b"1", target="f")], "content"),
    "a folder with content": ([entry("d", b"x", kind=b"5")], "content"),
    "a link with content": ([entry("d", b"x", kind=b"2", target="a")], "content"),
    "a link to nothing": ([link("a", b"")], "a symbolic link to nothing"),
    "something beneath a file": ([entry("f", b"x"), entry("f/g", b"x")], "no folder"),
    "links in a circle": ([link("a", "b"), link("b", "a"), entry("a/f")], "circle"),
    "beneath a link to nowhere": ([link("a", "b"), entry("a/f")], "leads nowhere"),
    "a whiteout of the parent": ([entry("d/.wh..")], "a whiteout of nothing"),
    "a whiteout of the parent's parent": ([entry("d/.wh...")], "a whiteout of nothing"),
    "a whiteout of nothing": ([entry(".wh.")], "a whiteout of nothing"),
    "a negative size": ([entry("f", size=b"\xff" * 12)], "negative or immense size"),
    "an immense size": ([entry("f", size=b"\x80" + b"\xff" * 11)], "ends in the middle"),
    "a size that is no number": ([entry("f", size=b"12x")], "no number"),
    "a size beyond the end": ([entry("f", b"x", size=1 << 32)], "ends in the middle of a file"),
    "an extended size beyond the end": (
        [entry("f", b"x", extended={"size": str(1 << 62)})],
        "ends in the middle of a file",
    ),
    "a negative extended size": ([entry("f", extended={"size": "-1"})], "no number"),
    "an extended owner that is no number": ([entry("f", extended={"uid": "root"})], "no number"),
    "a sparse file": ([entry("f", kind=b"S")], "sparse"),
    "a sparse file, newer": (
        [entry("f", extended={"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 40)})],
        "sparse",
    ),
    "an unknown kind": ([entry("f", kind=b"V")], "unknown kind"),
    "a long name without an end": ([entry("x", b"", kind=b"L", size=1 << 30)], "larger than any"),
    "extended headers for nothing": ([records({"path": "a"})], "ends after an extended header"),
    "a damaged extended header": ([entry("x", b"99 path=a\n", kind=b"x")], "damaged extended"),
    "a record without a length": ([entry("x", b"path=a\n", kind=b"x")], "no number"),
    "a damaged header": ([entry("f", b"")[:-400] + b"!" * 400], "checksum"),
}


@pytest.mark.parametrize("trick", REFUSED)
def test_a_trick_is_one_clear_error_and_nothing_is_left(trick, layout, images, tmp_path):
    layer, message = REFUSED[trick]
    layout.image([entry("before", b"x")], layer)
    with pytest.raises(InvalidImage, match=r"layer 2 of oci:.* \(sha256:[0-9a-f]{12}…\)") as caught:
        images.pull(layout.reference)
    assert message in caught.value.message
    assert len(caught.value.message) < 600
    assert caught.value.message.isprintable()
    assert_nothing_left(images, tmp_path)


def assert_nothing_left(images: Images, tmp_path: Path) -> None:
    assert images.all() == []
    assert list((tmp_path / "images/drafts").iterdir()) == []
    images.collect_garbage(list)
    assert [path for path in (tmp_path / "images").rglob("*") if not path.is_dir()] == []


LEADING_OUT = {
    "relative": lambda outside: [link("out", os.path.relpath(outside, "/")), entry("out/file")],
    "dots": lambda outside: [link("out", "../" * 30 + str(outside)), entry("out/new", b"x")],
    "absolute": lambda outside: [link("out", str(outside)), entry("out/file", b"x")],
    "proc": lambda outside: [link("out", "/proc/self/root"), entry(f"out{outside}/file", b"x")],
    "proc's cwd": lambda outside: [link("out", "/proc/self/cwd"), entry("out/new", b"x")],
    "swapped": lambda outside: [
        folder("d"), entry("d/x"), link("d", str(outside)), entry("d/file", b"x"),
    ],
    "in two steps": lambda outside: [
        link("a", ".."), link("b", "a/.."), link("c", f"b{outside}"), entry("c/file", b"x"),
    ],
    "hard link": lambda outside: [link("out", str(outside)), same("mine", "out/file")],
    "whiteout": lambda outside: [link("out", str(outside)), entry("out/.wh.file")],
    "opaque": lambda outside: [link("out", str(outside)), entry("out/.wh..wh..opq")],
    "mode of a folder": lambda outside: [link("out", str(outside)), folder("out/", mode=0)],
}  # fmt: skip


@pytest.mark.parametrize("way", LEADING_OUT)
def test_no_link_leads_out(way, layout, images, outside):
    """Refused or kept inside, it doesn't matter: `outside` looks that nothing happens there."""
    layout.image([entry("before", b"x")], LEADING_OUT[way](outside))
    try:
        root = images.pull(layout.reference).root.path
    except InvalidImage:
        return
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert not path.samefile(outside / "file")


def test_links_of_the_image_may_name_whatever_they_like(layout, images, outside):
    layout.image([link("a", str(outside)), link("b", "../../.."), link("c", "/" + "x" * 4000)])
    root = images.pull(layout.reference).root.path
    assert (root / "a").readlink() == outside


@pytest.mark.parametrize("pack", [gzipped, zstd])
@pytest.mark.parametrize("damage", ["cut", "byte", "tail"])
def test_a_damaged_stream_is_one_clear_error(pack, damage, layout, images, tmp_path):
    def packed(content: bytes) -> bytes:
        good = pack(content)
        if damage == "cut":
            return good[:-5]
        if damage == "tail":
            return good + b"!"
        middle = len(good) // 2
        return good[:middle] + bytes([good[middle] ^ 255]) + good[middle + 1 :]

    layout.image([entry("f", os.urandom(5000))], pack=packed)
    with pytest.raises(InvalidImage, match=r"layer 1 .* stream"):
        images.pull(layout.reference)
    assert_nothing_left(images, tmp_path)


def test_a_layer_that_is_no_archive_is_refused(layout, images):
    layout.image(b"#!/bin/sh\n" * 100, pack=plain)
    with pytest.raises(InvalidImage, match="checksum"):
        images.pull(layout.reference)


def test_a_layer_with_another_archive_than_announced_is_refused(layout, images, tmp_path):
    other = gzipped(entry("evil", b"x") + END)
    layout.image([entry("good", b"x")], pack=lambda content: other)
    with pytest.raises(InvalidImage, match=r"layer 1 .* holds another archive"):
        images.pull(layout.reference)
    assert_nothing_left(images, tmp_path)


def test_a_layer_with_other_bytes_than_its_digest_is_refused(layout, images, tmp_path):
    layout.image([entry("good", b"x" * 10_000)])
    for blob in (layout.path / "blobs/sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            content = bytearray(blob.read_bytes())
            content[4] ^= 1  # gzip's time: what is in it stays the same
            blob.write_bytes(content)
    with pytest.raises(InvalidImage, match="damaged: it has another content than its digest"):
        images.pull(layout.reference)
    assert_nothing_left(images, tmp_path)


def test_a_small_layer_does_not_become_a_large_one(layout, images, tmp_path, monkeypatch):
    monkeypatch.setattr("assay.images.manifest._ALWAYS_BYTES", 1 << 20)
    bomb = {"mediaType": f"{LAYER}+gzip", **layout.blob(zeros(1 << 26))}
    layout.image(END, manifest={"layers": [bomb]})
    start = time.monotonic()
    with pytest.raises(InvalidImage, match=r"layer 1 .*: it holds more bytes than are taken"):
        images.pull(layout.reference)
    assert time.monotonic() - start < 20
    assert_nothing_left(images, tmp_path)


def test_a_large_file_of_a_bomb_stops_at_the_limit(layout, images, tmp_path, monkeypatch):
    monkeypatch.setattr("assay.images.manifest._ALWAYS_BYTES", 4 << 20)
    header = entry("f", b"", size=1 << 30)
    layout.image(b"", pack=lambda content: gzipped(header) + zeros(1 << 26))
    with pytest.raises(InvalidImage, match=r"layer 1 .*: f: it holds more bytes than are taken"):
        images.pull(layout.reference)
    assert_nothing_left(images, tmp_path)


def test_an_image_does_not_have_entries_without_end(layout, images, tmp_path, monkeypatch):
    monkeypatch.setattr(layer_module, "MOST_ENTRIES", 100)
    layout.image([folder("d") for _ in range(60)], [entry(str(n)) for n in range(60)])
    with pytest.raises(InvalidImage, match=r"layer 2 .*: 40: the image has more than 100 entries"):
        images.pull(layout.reference)
    assert_nothing_left(images, tmp_path)


def test_folders_grow_no_deeper_by_way_of_links(layout, images, tmp_path):
    deep = "/".join("d" * 100)
    layout.image(
        [
            folder("", extended={"path": deep}),
            link("l", "/".join("d" * 40)),
            link("l/l", "/" + "/".join("d" * 100)),
            folder("", extended={"path": f"l/l/{deep}"}),
        ]
    )
    with pytest.raises(InvalidImage, match="deep"):
        images.pull(layout.reference)
    assert_nothing_left(images, tmp_path)


COSTLY = {
    "records": [records({}) + entry("x", b"7 a=bc\n" * 140_000, kind=b"x"), entry("f")] * 3,
    "opaque whiteouts": [
        *(entry(f"d/{number}") for number in range(2500)),
        *[entry("d/.wh..wh..opq")] * 2500,
    ],
    "whiteouts": [*(entry(f"d/{n}") for n in range(2500)), *[entry("d/.wh.0")] * 2500],
    "duplicates": [*(entry(f"d/{n}") for n in range(2500)), *[folder("d")] * 2500],
}


@pytest.mark.parametrize("what", COSTLY)
def test_little_of_a_layer_does_not_cost_much_time(what, layout, images):
    layout.image(COSTLY[what])
    start = time.process_time()
    images.pull(layout.reference)
    assert time.process_time() - start < 8


def test_a_gzip_stream_does_not_have_members_without_end(layout, images, monkeypatch):
    monkeypatch.setattr("assay.images.stream._MOST_MEMBERS", 20_000)
    layout.image(END, pack=lambda content: gzipped(b"") * 30_000 + gzipped(content))
    with pytest.raises(InvalidImage, match="members without end"):
        images.pull(layout.reference)


def test_control_characters_do_not_reach_the_terminal(layout, images):
    layout.image([entry("/\x1b[2J\n\u202e\r")])
    with pytest.raises(AssayError) as caught:
        images.pull(layout.reference)
    assert caught.value.message.isprintable()


def test_a_blob_may_not_be_a_link_or_a_pipe(layout, images, outside):
    layout.image([entry("f", b"x" * 1000)])
    for blob in (layout.path / "blobs/sha256").iterdir():
        if blob.read_bytes()[:2] == b"\x1f\x8b":
            blob.rename(layout.path / "aside")
            blob.symlink_to(layout.path / "aside")
    with pytest.raises(InvalidImage, match="is not whole"):
        images.pull(layout.reference)
    for blob in (layout.path / "blobs/sha256").iterdir():
        if blob.is_symlink():
            blob.unlink()
            os.mkfifo(blob)
    with pytest.raises(InvalidImage, match="should have"):
        images.pull(layout.reference)


def test_an_empty_image_is_an_image(layout, images):
    layout.image()
    assert (images.pull(layout.reference).root.path / "etc/hosts").exists()


def test_two_layouts_of_one_image_are_one_root(layout, images, tmp_path):
    layout.image([entry("f", b"x")])
    other = Layout(tmp_path / "other")
    other.image([entry("f", b"x")])
    first, second = images.pull(layout.reference), images.pull(other.reference)
    assert first.root == second.root
    assert [image.reference for image in images.all()] == [layout.reference, other.reference]
