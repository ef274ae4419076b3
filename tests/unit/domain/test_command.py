"""What a command may be."""

import pytest

from assay.domain.command import Command
from assay.domain.errors import InvalidInput


@pytest.mark.parametrize(
    "wrong",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a", "b\0c")},
        {"argv": ("a",), "environment": {"A=B": "x"}},
        {"argv": ("a",), "environment": {"": "x"}},
        {"argv": ("a",), "environment": {"A": "\0"}},
        {"argv": ("a",), "working_directory": "/\0"},
        {"argv": ("a",), "uid": 0},
        {"argv": ("a",), "uid": 65534},
    ],
    ids=str,
)
def test_a_command_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        Command(**wrong)  # type: ignore[arg-type]


def test_arguments_are_anything_but_nul() -> None:
    Command(argv=("prog", "", "a b", "\n", "\udcff"), environment={"A": "", "B C": "="})


def test_a_privileged_command_needs_no_uid() -> None:
    assert Command(argv=("id",), privileged=True, uid=0).privileged


def test_a_privileged_command_starts_where_learners_cannot_write() -> None:
    assert Command(argv=("id",)).folder == "/workspace"
    assert Command(argv=("id",), privileged=True).folder == "/"
    assert Command(argv=("id",), privileged=True, working_directory="/tmp").folder == "/tmp"
