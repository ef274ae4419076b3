"""Which URLs name a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.cli.app import run_app
from assay.domain.errors import StorageError
from assay.storage.urls import kind_of, parsed


@pytest.mark.parametrize(
    "url", ["sqlite:///var/x.db", "sqlite:///x.db", "sqlite:///:memory:", "sqlite:///file:x.db"]
)
def test_a_file_is_named_from_the_root_on(url: str) -> None:
    with pytest.raises(StorageError, match="a database is sqlite:////folder/file or postgresql"):
        parsed(url)


def test_four_slashes_name_a_file(tmp_path: Path) -> None:
    assert kind_of(f"sqlite:///{tmp_path}/x.db").place == f"{tmp_path}/x.db"


def test_a_path_that_lacks_a_slash_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir()
    assert run_app(["token", "list", "--database", "sqlite:///var/x.db"]) == 109
    assert "sqlite:////folder/file" in capfd.readouterr().err
    assert list((tmp_path / "var").iterdir()) == []
