"""Versions of tasks: kept once, and read with suspicion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.domain.errors import GradingLost
from assay.grading.tasks import Bundle
from assay.grading.tasks.bundle import digest_of
from assay.grading.versions import Versions

FILES = {"task.toml": b"title = 'x'", "run": b"\0\xff"}
BUNDLE = Bundle(
    files=FILES, executable=frozenset({"run"}), digest=digest_of(FILES, frozenset({"run"}))
)


def test_a_version_comes_back_as_it_was_however_many_keep_it(tmp_path: Path) -> None:
    versions = Versions(tmp_path / "tasks")
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(versions.keep, [BUNDLE] * 50))
    assert versions.get(BUNDLE.digest) == BUNDLE
    assert len(list((tmp_path / "tasks").iterdir())) == 1


def test_a_version_that_was_changed_is_not_used(tmp_path: Path) -> None:
    versions = Versions(tmp_path)
    versions.keep(BUNDLE)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for content in (whole.replace(b"'x'", b"'y'"), b"", b"\xc1", whole[:-3]):
        path.write_bytes(content)
        with pytest.raises(GradingLost):
            versions.get(BUNDLE.digest)


NO_DIGESTS = ["", "sha256:", "../../etc/passwd", "sha256:" + "../" * 20, "x" * 999]


@pytest.mark.parametrize("digest", NO_DIGESTS)
def test_what_is_no_digest_is_no_path(tmp_path: Path, digest: str) -> None:
    with pytest.raises(GradingLost):
        Versions(tmp_path).get(digest)
