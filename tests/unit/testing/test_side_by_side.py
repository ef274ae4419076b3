"""Tests that are dealt to two."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.side_by_side import HERE, piece, taken_files


def made(*names: str) -> list[Any]:
    return [SimpleNamespace(path=Path(f"/t/{name[0]}/test.py"), name=name) for name in names]


def test_every_test_is_run_by_one_of_two_and_files_stay_whole(tmp_path: Path) -> None:
    items = made("a1", "a2", "b1", "c1", "c2", "d1")
    one, other = taken_files(items, tmp_path), taken_files(items, tmp_path)
    assert [next(one).name, next(other).name] == ["a1", "b1"]
    assert [next(other).name, next(one).name] == ["c1", "a2"]
    assert [each.name for each in one] == ["d1"]
    assert [each.name for each in other] == ["c2"]


def test_a_folder_whose_tests_see_each_other_stays_whole() -> None:
    local = HERE / "drivers" / "local"
    assert piece(local / "test_spares.py") == piece(local / "test_lxc.py") == local
    assert piece(HERE / "drivers" / "nodes" / "test_suites.py").name == "test_suites.py"
