"""What a grader keeps: the same bytes for the same files, and a digest that says which bytes."""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
import time

import pytest

from assay.agent.entries import Entry, EntryKind
from assay.grading.results import archive_of
from assay.grading.script.grader import packed

ENTRIES = (
    Entry(name="b/c.txt", mode=0o644, content=b"c"),
    Entry(name="a.sh", mode=0o755, content=b"a" * 1000),
    Entry(name="b", kind=EntryKind.FOLDER, mode=0o755),
)


def test_the_same_files_are_the_same_bytes_whenever_and_however_they_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = {packed(list(order)) for order in itertools.permutations(ENTRIES)}
    monkeypatch.setattr(time, "time", lambda: 2e9)
    made.add(packed(list(ENTRIES)))
    assert len(made) == 1


def test_files_are_in_it_with_their_modes_and_contents() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(list(ENTRIES)))) as tar:
        assert tar.getnames() == ["a.sh", "b", "b/c.txt"]
        assert [each.mode for each in tar] == [0o755, 0o755, 0o644]
        assert [each.isdir() for each in tar] == [False, True, False]
        file = tar.extractfile("a.sh")
        assert file is not None
        assert file.read() == b"a" * 1000


@pytest.mark.parametrize("content", [b"", b"kept", b"\0" * 3_000_000])
def test_an_archive_says_which_bytes_and_how_many_it_holds(content: bytes) -> None:
    made = archive_of(content)
    assert (made.size, made.content) == (len(content), content)
    assert made.digest == f"sha256:{hashlib.sha256(content).hexdigest()}"
