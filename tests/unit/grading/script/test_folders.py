"""What differs between two looks at a folder."""

from __future__ import annotations

from assay.grading.script.folders import changes


def test_of_a_folder_that_is_gone_its_name_is_enough() -> None:
    folder, file = (-1, 0, 0), (1, 1, 0o644)
    before = {"d": folder, "d/e": folder, "d/e/f": file, "d-1": file, "kept": folder}
    before |= {"kept/gone": file, "kept/same": file}
    found = changes(before, {"kept": folder, "kept/same": file, "new": file})
    assert found.gone == ("d", "d-1", "kept/gone")
    assert found.changed == {"new"}


def test_what_was_in_a_folder_that_is_a_file_now_is_gone_by_its_own_name() -> None:
    found = changes({"d": (-1, 0, 0), "d/f": (1, 1, 0o644)}, {"d": (1, 2, 0o644)})
    assert (found.gone, found.changed) == (("d/f",), {"d"})
