"""Roots that a server sends and a node keeps: as they were, and nothing beside them."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.domain.errors import InvalidImage
from assay.driver.port import RootFilesystem
from assay.drivers.linux.copy import Copy, pieces
from assay.images import received
from assay.images.received import ReceivedRoots

NAME = "0" * 16 + "1" * 32

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners take root")


@pytest.fixture
def roots(tmp_path: Path) -> ReceivedRoots:
    return ReceivedRoots(tmp_path / "received")


def archive_of(folder: Path, to: Path, *, owners: bool = True) -> Path:
    root = RootFilesystem(digest="x", path=folder, owners=owners)
    to.write_bytes(b"".join(pieces(Copy(root=root, folders=(), programs=()))))
    return to


def made_of(to: Path, fill: Callable[[tarfile.TarFile], None]) -> Path:
    with tarfile.open(to, "w", format=tarfile.PAX_FORMAT) as archive:
        fill(archive)
    return to


def test_a_root_arrives_with_owners_rights_times_and_links(
    roots: ReceivedRoots, tmp_path: Path
) -> None:
    sent = tmp_path / "sent"
    (sent / "srv/deep").mkdir(parents=True)
    (sent / "srv").chmod(0o2750)
    (sent / "tmp").mkdir()
    (sent / "tmp").chmod(0o1777)
    file = sent / "srv/deep/file"
    file.write_bytes(b"content" * 1000)
    file.chmod(0o640)
    os.chown(file, 33, 65535)
    os.utime(file, ns=(10**18, 10**18))
    (sent / "srv/same").hardlink_to(file)
    (sent / "srv/link").symlink_to("../../etc/passwd")
    (sent / "srv/.wh.file").write_text("no whiteout")
    (sent / ("long" * 60)).write_text("x")
    roots.keep(NAME, archive_of(sent, tmp_path / "archive"))
    found = roots.find(NAME)
    assert found is not None
    kept = found.path / "srv/deep/file"
    facts = kept.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (33, 65535, 0o640)
    assert facts.st_mtime_ns == 10**18
    assert kept.read_bytes() == b"content" * 1000
    assert (found.path / "srv/same").samefile(kept)
    assert (found.path / "srv/link").readlink() == Path("../../etc/passwd")
    assert stat.S_IMODE((found.path / "srv").stat().st_mode) == 0o2750
    assert stat.S_IMODE((found.path / "tmp").stat().st_mode) == 0o1777
    assert (found.path / ("long" * 60)).read_text() == "x"
    assert not (found.path / "srv/.wh.file").exists()


def test_files_that_two_roots_have_are_on_disk_once(roots: ReceivedRoots, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "file").write_text("shared")
    archive = archive_of(sent, tmp_path / "archive")
    for name in (NAME, "2" * 48):
        roots.keep(name, archive)
    one, other = roots.find(NAME), roots.find("2" * 48)
    assert one is not None
    assert other is not None
    assert (one.path / "file").samefile(other.path / "file")


def out(archive: tarfile.TarFile) -> None:
    archive.addfile(tarfile.TarInfo("../out"), io.BytesIO())


def by_link(archive: tarfile.TarFile) -> None:
    link = tarfile.TarInfo("way")
    link.type, link.linkname = tarfile.SYMTYPE, "/"
    archive.addfile(link)
    file = tarfile.TarInfo("way/by-link")
    file.size = 1
    archive.addfile(file, io.BytesIO(b"x"))


def device(archive: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("disk")
    entry.type, entry.devmajor, entry.devminor = tarfile.BLKTYPE, 8, 0
    archive.addfile(entry)


@pytest.mark.parametrize("fill", [out, device])
def test_what_would_get_out_of_a_root_is_refused_and_nothing_of_it_stays(
    roots: ReceivedRoots, tmp_path: Path, fill: Callable[[tarfile.TarFile], None]
) -> None:
    with pytest.raises(InvalidImage, match="the root that was sent can't be taken"):
        roots.keep(NAME, made_of(tmp_path / "archive", fill))
    assert roots.find(NAME) is None
    assert list((tmp_path / "received/drafts").iterdir()) == []


def test_a_link_leads_nowhere_but_into_its_root(roots: ReceivedRoots, tmp_path: Path) -> None:
    roots.keep(NAME, made_of(tmp_path / "archive", by_link))
    found = roots.find(NAME)
    assert found is not None
    assert (found.path / "by-link").read_text() == "x"
    assert not Path("/by-link").exists()


def test_a_truncated_archive_is_no_root(roots: ReceivedRoots, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()
    (sent / "file").write_bytes(bytes(100_000))
    archive = archive_of(sent, tmp_path / "archive")
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(InvalidImage):
        roots.keep(NAME, archive)
    assert roots.find(NAME) is None


def test_a_senders_oldest_roots_go_but_for_those_in_use(
    roots: ReceivedRoots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(received, "MOST", 1)
    sent = tmp_path / "sent"
    sent.mkdir()
    archive = archive_of(sent, tmp_path / "archive")
    ours, theirs = "a" * 16, "b" * 16
    names = [f"{ours}{number:032}" for number in range(4)]
    digests = {}
    for number, name in enumerate([*names, theirs + "0" * 32]):
        roots.keep(name, archive)
        found = roots.find(name)
        assert found is not None
        digests[name] = found.digest
        os.utime(found.path.parent, (number, number))
    roots.forget(ours, {digests[names[0]]})
    left = [name for name in digests if roots.find(name) is not None]
    assert left == [names[0], names[3], theirs + "0" * 32]
