"""Where an image's working folder is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.domain.errors import RuntimeFailed
from assay.drivers.linux.working_folder import find


def test_a_root_that_is_gone_is_said_and_not_looked_for_without_end(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailed, match="collected is not there"):
        find(tmp_path / "collected", "/workspace")


def test_what_the_image_lacks_is_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()

    found = find(tmp_path, "/srv/course/work")

    assert (found.target, found.missing) == ("/srv/course/work", True)
