"""One server for a state folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.bootstrap.alone import alone_in
from assay.domain.errors import InUse


def test_the_second_server_of_a_state_folder_is_told_which_process_is_the_first(
    tmp_path: Path,
) -> None:
    words = f"process {os.getpid()}, has the state folder"
    with alone_in(tmp_path / "state"):
        with pytest.raises(InUse, match=words), alone_in(tmp_path / "state"):
            raise AssertionError("unreachable")
        with alone_in(tmp_path / "other"):
            pass
    with alone_in(tmp_path / "state"):
        pass


def test_servers_that_know_of_each_other_share_a_state_folder(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with (
        alone_in(state, among_others=True),
        alone_in(state, among_others=True),
        pytest.raises(InUse, match="--advertise"),
        alone_in(state),
    ):
        raise AssertionError("unreachable")
    with alone_in(state), pytest.raises(InUse), alone_in(state, among_others=True):
        raise AssertionError("unreachable")
