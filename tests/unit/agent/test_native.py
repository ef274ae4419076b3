"""Where the programs for sandboxes are found."""

from pathlib import Path

import pytest

from assay.agent.native import program
from assay.domain.errors import Unavailable


@pytest.mark.parametrize(
    ("machine", "folder"), [("x86_64", "x86_64"), ("AMD64", "x86_64"), ("arm64", "aarch64")]
)
def test_programs_are_found_by_machine(tmp_path: Path, machine: str, folder: str) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "agent").write_bytes(b"\x7fELF")
    assert program("agent", native=tmp_path, machine=machine) == tmp_path / folder / "agent"


def test_a_program_that_was_not_built_comes_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"\./dev") as missing:
        program("agent", native=tmp_path, machine="riscv64")
    assert "riscv64" in missing.value.message
